# `just` lists what there is.

_list:
    @just --list --unsorted

# For every commit, under five minutes: formatting, lints, all tests that need no real client
quick:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    scripts/test --no-clients

# Every test, with the real clients that they need
test *words:
    scripts/test {{words}}

# Hours: thousands of kills and of flipped bits, hundreds of power cuts; what they print belongs into docs/batteries.md
night kills="3000" cuts="300" flips="5000":
    MILLPOND_KILLS={{kills}} MILLPOND_KILLS_LETTING_GO={{kills}} MILLPOND_CUTS={{cuts}} MILLPOND_FLIPS={{flips}} \
        scripts/test kill_battery power_cut_battery kills_in_the_midst_of_letting_go single_faults full_disk_at_each_call -- \
        --release --profile night --no-capture
    scripts/mutants
    scripts/scale

# The benchmarks of the hot pieces, measured; words select some
bench *words:
    cargo bench --workspace --bench '*' -- {{words}}

# What a change must pass
ci:
    .ci/run

# The image, built from nothing, and its tests; `scripts/docker-bases` first where no registry can be reached
docker:
    docker build --file deploy/docker/Dockerfile --build-arg REVISION="$(git rev-parse HEAD)" --tag millpond .
    MILLPOND_TEST_IMAGE=millpond scripts/test docker

# What is made from the program in docs/: every setting, command, error and metric, written anew
docs:
    MILLPOND_WRITE_DOCS=1 cargo nextest run --workspace -E 'test(page_has)'

# The server, with defaults, on loopback
run *flags:
    cargo run --release -- {{flags}}

# The documentation of the code
doc:
    cargo doc --workspace --no-deps --document-private-items --open
