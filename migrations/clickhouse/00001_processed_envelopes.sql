-- +goose NO TRANSACTION
-- +goose Up
-- The sort key ends with the envelope's id: writing an envelope again replaces
-- its row, the one processed last wins, and FINAL shows each once. How long rows
-- are kept is no part of the migrations, see ttl.go.
CREATE TABLE IF NOT EXISTS processed_envelopes{{.OnCluster}} (
    organization_id String,
    end_device_id   String,
    occurred_at     DateTime64(6, 'UTC'),
    processed_at    DateTime64(6, 'UTC'),
    data            JSON,
    envelope_id     String
)
ENGINE = {{.Engine "ReplacingMergeTree" "processed_at"}}
PARTITION BY toYYYYMM(occurred_at)
ORDER BY (organization_id, end_device_id, occurred_at, envelope_id)
SETTINGS {{.DeduplicationWindow}} = 1000;

-- +goose Down
DROP TABLE IF EXISTS processed_envelopes{{.OnCluster}} SYNC;
