# Ponix. `just` alone lists what there is; without just: npx -y rust-just up

export CGO_ENABLED := env("CGO_ENABLED", "0")

# The first build is what a newcomer waits for: without debug information, which
# is stripped anyway, without gRPC's trace pages, and with hardly any garbage
# collection in the compiler (its largest package takes 2 GB so), it takes a third
# less of CPU. Stack traces and profiles have their lines all the same.
export GOFLAGS := env("GOFLAGS", "") + " -gcflags=all=-dwarf=false -tags=grpcnotrace"
version := env("PONIX_VERSION", "0.1.0")

[private]
default:
    @just --list --unsorted

# Start a whole cluster on this machine
[no-exit-message]
up *args: (fetch args) build
    exec bin/ponix up {{args}}

# Begin to fetch the engines where the build will take long; `up` waits for it, and fetches those of a cluster that is configured otherwise
[private]
fetch args:
    @test -e bin/ponix -o -n "{{args}}$(env | grep ^PONIX_)" || go run ./cmd/fetch &

# Build bin/ponix
build:
    GOGC=off GOMEMLIMIT=2GiB go build -ldflags "-s -w -X main.version={{version}}" -o bin/ponix ./cmd/ponix

# Run every test against real engines
test *args: build
    go test -timeout 10m {{args}} ./...

# Run the tests of what PostgreSQL does on another version: just test-postgres /usr/lib/postgresql/15/bin
test-postgres bin:
    PONIX_POSTGRES_BIN={{bin}} go test -count 1 -timeout 5m ./migrations ./functions/cdc ./functions/organization ./functions/end_device ./functions/gateway

# Run every test with the race detector (needs a C compiler)
race *args:
    CGO_ENABLED=1 go test -race -timeout 20m {{args}} ./...

# Run each fuzz target on some thousand inputs: a number, since a time may end in a failure that is Go's own (golang/go#75804)
fuzz inputs="5000":
    #!/usr/bin/env bash
    set -euo pipefail
    grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do
        for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
            go test -run '^$' -fuzz "^${target}\$" -fuzztime {{inputs}}x -fuzzminimizetime 20x "$(dirname "$file")"
        done
    done

# Try random hostile expressions, some two minutes
expressions count="10000":
    PONIX_EXPRESSIONS={{count}} go test -timeout 30m -count 1 -run TestRandomExpressions -v ./functions/internal/conversion

# Break everything around Ponix and count what is lost: just torture --for 30m
torture *args: build
    go build -ldflags "-s -w -X main.version={{version}}-next" -o bin/ponix-next ./cmd/ponix
    go run ./cmd/torture {{args}}

# Measure Ponix beside its limits, eight to ten minutes: just bench --rounds 3
bench *args: build
    #!/usr/bin/env bash
    set -euo pipefail
    for suite in convert pipeline devices ingest cdc rpc latency start "memory --rounds 1" "durability --rounds 3 --duration 500ms"; do
        bin/ponix bench $suite {{args}} 2> >(grep ^ponix: >&2)
    done

# Fail where a ratio is below nine tenths of its goal in three short tries, or memory above its bound; rpc-64 is rpc without one client alone, and cdc-rows cdc without the one transaction
bench-check suites="convert pipeline devices ingest cdc rpc memory": build
    #!/usr/bin/env bash
    set -uo pipefail
    declare -A size=(
        [convert]="" [pipeline]="" [devices]="" [ingest]="--count 100000" [cdc]="--count 20000 --duration 500ms" [cdc-rows]="--count 20000 --duration 300ms --parts single,live" [rpc]="--duration 300ms" [rpc-64]="--duration 250ms --only 64 --rounds 15"
        [memory]="--count 50000 --backlog 200000 --idle 3s --rounds 1 --tolerance 0.99"
    )
    missed=0
    for suite in {{suites}}; do
        bin/ponix bench ${suite%-*} --rounds 3 --check --tolerance 0.9 --tries 3 ${size[$suite]} 2> >(grep ^ponix: >&2) || missed=1
    done
    exit $missed

# Draw how the cost of a message grows, some twenty minutes; 10 million messages take 3 GB of disk: just bench-growth payload
bench-growth *args: build
    bin/ponix bench growth --out docs {{args}}

# Load an instance with every function, and watch its memory: just soak --for 5m
soak *args: build
    bin/ponix bench soak {{args}}

# Make cmd/ponix/default.pgo of what the suites do: just build then makes a binary that takes less CPU, and takes longer itself
pgo: build
    #!/usr/bin/env bash
    set -euo pipefail
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    for suite in pipeline ingest cdc rpc; do
        bin/ponix bench $suite --only ponix --rounds 3 --profile "$dir/$suite" 2>/dev/null
    done
    go tool pprof -proto -output cmd/ponix/default.pgo "$dir"/*

# Compare the micro benchmarks of two commits: just bench-compare main
bench-compare base count="6" packages="./functions/... ./runtime/...":
    #!/usr/bin/env bash
    set -euo pipefail
    before=$(mktemp -d)
    trap 'git worktree remove --force "$before/tree"; rm -rf "$before"' EXIT
    git worktree add --quiet --detach "$before/tree" {{base}}
    for _ in $(seq {{count}}); do # interleaved, so that what disturbs one disturbs both
        (cd "$before/tree" && go test -run '^$' -bench . -benchmem -benchtime 0.2s {{packages}} >>"$before/old" || true)
        go test -run '^$' -bench . -benchmem -benchtime 0.2s {{packages}} >>"$before/new"
    done
    go run golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da "$before/old" "$before/new"

# Format, vet, lint
lint:
    test -z "$(gofmt -l . | tee /dev/stderr)"
    go vet ./...
    go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run

# Look for known vulnerabilities in what is called, with the Go release that go.mod names. Where no database can be had it says so, and exits with the code that is given
vulncheck unreachable="1" db="https://vuln.go.dev":
    #!/usr/bin/env bash
    set -uo pipefail
    unchecked() { echo "vulncheck: NOT CHECKED: $1" >&2; exit {{unreachable}}; }
    export GOTOOLCHAIN=$(sed -n 's/^toolchain //p' go.mod)
    go version || unchecked "$GOTOOLCHAIN cannot be had"
    check() { go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 -db "$1" ./... 2>&1; }
    out=$(check {{db}}) && { echo "$out"; exit 0; }
    echo "$out"
    grep -q "fetching vulnerabilities" <<<"$out" || exit 1
    vulndb=golang.org/x/vulndb # the same database, as a Go module
    dir=$(mktemp -d)
    trap 'rm -rf "$dir"' EXIT
    go mod download -json $vulndb@latest >"$dir/module" || unchecked "neither {{db}} nor $vulndb can be reached"
    grep '"Version"' "$dir/module"
    osv=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' "$dir/module")/data/osv
    go run $vulndb/cmd/indexdb@latest -vulns "$osv" -out "$dir/db" && check "file://$dir/db"

# Remake the Go code of proto/
generate:
    cd proto && go run ./internal/generate

# Fail if the generated code differs from proto/, or go.mod from the code
verify: generate
    git diff --exit-code -- proto
    test -z "$(git ls-files --others --exclude-standard -- proto | tee /dev/stderr)" # what is not committed is in no fresh clone
    go mod tidy -diff

# Stop here if anything is wrong: what CI runs
ci: verify lint test fuzz (vulncheck "0") (bench-check "convert pipeline devices ingest cdc-rows rpc-64")

# Remove what was built, and the local cluster's data
clean:
    rm -rf bin .ponix
