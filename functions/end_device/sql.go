package enddevice

const columns = `id, organization_id, name, payload_conversion, created_at, updated_at`

// createSQL keeps the organization from being deleted before the device is
// there, and waits for a deletion that is under way.
const createSQL = `
INSERT INTO end_devices (id, organization_id, name, payload_conversion)
SELECT $1, o.id, $3, $4 FROM organizations AS o
WHERE o.id = $2 AND o.deleted_at IS NULL
FOR SHARE
RETURNING ` + columns

// $2 of the statements about one device is the tenant, empty for any.

const getSQL = `
SELECT ` + columns + ` FROM end_devices
WHERE id = $1 AND $2 IN ('', organization_id)`

// batchSQL is for $1, ids, and the tenant $2.
const batchSQL = `
SELECT ` + columns + ` FROM end_devices
WHERE id = ANY($1) AND $2 IN ('', organization_id)`

const updateSQL = `
UPDATE end_devices SET
    name = coalesce($3, name),
    payload_conversion = coalesce($4, payload_conversion),
    updated_at = clock_timestamp()
WHERE id = $1 AND $2 IN ('', organization_id)
  AND EXISTS (SELECT FROM organizations AS o WHERE o.id = organization_id AND o.deleted_at IS NULL)
RETURNING ` + columns

const deleteSQL = `
DELETE FROM end_devices
WHERE id = $1 AND $2 IN ('', organization_id)
RETURNING ` + columns

const listSQL = `
SELECT ` + columns + ` FROM end_devices
WHERE organization_id = $4 AND (created_at, id) < ($1, $2)
  AND EXISTS (SELECT FROM organizations AS o WHERE o.id = $4 AND o.deleted_at IS NULL)
ORDER BY created_at DESC, id DESC
LIMIT $3`
