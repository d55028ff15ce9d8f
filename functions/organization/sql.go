package organization

const columns = `id, name, created_at, updated_at, deleted_at`

const createSQL = `
INSERT INTO organizations (id, name) VALUES ($1, $2)
RETURNING ` + columns

const getSQL = `
SELECT ` + columns + ` FROM organizations
WHERE id = $1 AND deleted_at IS NULL`

const updateSQL = `
UPDATE organizations SET name = $2, updated_at = clock_timestamp()
WHERE id = $1 AND deleted_at IS NULL
RETURNING ` + columns

// lockSQL comes before deleteSQL: it waits for gateways that are being made, which that
// sees only where it begins when they are there.
const lockSQL = `SELECT FROM organizations WHERE id = $1 FOR NO KEY UPDATE`

// deleteSQL takes one moment for both times. The organization's gateways go with it:
// nobody would see them any more, and what they take would be dead letters.
const deleteSQL = `
WITH gone AS (
    UPDATE organizations SET (updated_at, deleted_at) = (SELECT t, t FROM clock_timestamp() AS t)
    WHERE id = $1 AND deleted_at IS NULL
    RETURNING ` + columns + `
), gateways_gone AS (
    UPDATE gateways AS g SET updated_at = gone.deleted_at, deleted_at = gone.deleted_at
    FROM gone WHERE g.organization_id = gone.id AND g.deleted_at IS NULL
)
SELECT ` + columns + ` FROM gone`

const listSQL = `
SELECT ` + columns + ` FROM organizations
WHERE deleted_at IS NULL AND (created_at, id) < ($1, $2)
ORDER BY created_at DESC, id DESC
LIMIT $3`
