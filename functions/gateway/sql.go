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

// $2 of the statements about one gateway is the tenant, empty for any.

const getSQL = `
SELECT ` + columns + ` FROM gateways
WHERE id = $1 AND $2 IN ('', organization_id) AND deleted_at IS NULL`

const updateSQL = `
UPDATE gateways SET
    name = coalesce(nullif($3, ''), name),
    status = coalesce(nullif($4, 'GATEWAY_STATUS_UNSPECIFIED'), status),
    type = coalesce(nullif($5, 'GATEWAY_TYPE_UNSPECIFIED'), type),
    config = coalesce($6::text::jsonb, config),
    updated_at = clock_timestamp()
WHERE id = $1 AND $2 IN ('', organization_id) AND deleted_at IS NULL
  AND EXISTS (SELECT FROM organizations AS o WHERE o.id = organization_id AND o.deleted_at IS NULL)
RETURNING ` + columns

// deleteSQL takes one moment for both times.
const deleteSQL = `
UPDATE gateways SET (updated_at, deleted_at) = (SELECT t, t FROM clock_timestamp() AS t)
WHERE id = $1 AND $2 IN ('', organization_id) AND $3 IN ('', organization_id) AND deleted_at IS NULL
RETURNING ` + columns

const listSQL = `
SELECT ` + columns + ` FROM gateways
WHERE organization_id = $4 AND deleted_at IS NULL AND (created_at, id) < ($1, $2)
  AND EXISTS (SELECT FROM organizations AS o WHERE o.id = $4 AND o.deleted_at IS NULL)
ORDER BY created_at DESC, id DESC
LIMIT $3`
