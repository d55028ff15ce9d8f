-- +goose Up
-- An organization is never removed: deleted_at is set, and its rows stay. Its
-- status follows from deleted_at and is no column.
CREATE TABLE organizations (
    id         text PRIMARY KEY,
    name       text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);

-- So that change data capture sees whole rows, deleted ones and unchanged TOAST
-- values included.
ALTER TABLE organizations REPLICA IDENTITY FULL;

-- ListOrganizations, page by page.
CREATE INDEX organizations_newest ON organizations (created_at DESC, id DESC) WHERE deleted_at IS NULL;

-- +goose Down
DROP TABLE organizations;
