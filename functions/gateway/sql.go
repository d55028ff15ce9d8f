package gateway

const columns = `id, organization_id, name, status, type, config::text, created_at, updated_at, deleted_at`

// createSQL keeps the organization from being deleted before the gateway is
// there, and waits for a deletion that is under way.
const createSQL = `
INSERT INTO gateways (id, organization_id, name, status, type, config)
SELECT $1, o.id, $3, $4, $5, $6::text::jsonb FROM organizations AS o
WHERE o.id = $2 AND o.deleted_at IS NULL
FOR SHARE
RETURNING ` + columns

const getSQL = `
SELECT ` + columns + ` FROM gateways
WHERE id = $1 AND deleted_at IS NULL`

const updateSQL = `
UPDATE gateways SET
    name = coalesce(nullif($2, ''), name),
    status = coalesce(nullif($3, 'GATEWAY_STATUS_UNSPECIFIED'), status),
    type = coalesce(nullif($4, 'GATEWAY_TYPE_UNSPECIFIED'), type),
    config = coalesce($5::text::jsonb, config),
    updated_at = clock_timestamp()
WHERE id = $1 AND deleted_at IS NULL
  AND EXISTS (SELECT FROM organizations AS o WHERE o.id = organization_id AND o.deleted_at IS NULL)
RETURNING ` + columns

// deleteSQL takes one moment for both times.
const deleteSQL = `
UPDATE gateways SET (updated_at, deleted_at) = (SELECT t, t FROM clock_timestamp() AS t)
WHERE id = $1 AND deleted_at IS NULL AND $2 IN ('', organization_id)
RETURNING ` + columns

const listSQL = `
SELECT ` + columns + ` FROM gateways
WHERE organization_id = $4 AND deleted_at IS NULL AND (created_at, id) < ($1, $2)
  AND EXISTS (SELECT FROM organizations AS o WHERE o.id = $4 AND o.deleted_at IS NULL)
ORDER BY created_at DESC, id DESC
LIMIT $3`
