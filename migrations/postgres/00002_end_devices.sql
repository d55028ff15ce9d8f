-- +goose Up
CREATE TABLE end_devices (
    id                 text PRIMARY KEY,
    organization_id    text NOT NULL REFERENCES organizations (id),
    name               text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 255),
    payload_conversion text NOT NULL DEFAULT '', -- CEL; empty: there is none yet
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE end_devices REPLICA IDENTITY FULL;

-- ListEndDevices, page by page.
CREATE INDEX end_devices_newest ON end_devices (organization_id, created_at DESC, id DESC);

-- +goose Down
DROP TABLE end_devices;
