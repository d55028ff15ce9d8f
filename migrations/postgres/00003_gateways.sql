-- +goose Up
-- status and type hold the names of the enums' values in
-- proto/ponix/gateway/v1/gateway.proto; config is the JSON of the message in the
-- oneof that belongs to the type, with the field names of the .proto.
CREATE TABLE gateways (
    id              text PRIMARY KEY,
    organization_id text NOT NULL REFERENCES organizations (id),
    name            text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    status          text NOT NULL,
    type            text NOT NULL,
    config          jsonb NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    deleted_at      timestamptz
);

ALTER TABLE gateways REPLICA IDENTITY FULL;

-- ListGateways, page by page.
CREATE INDEX gateways_newest ON gateways (organization_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

-- +goose Down
DROP TABLE gateways;
