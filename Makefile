# Everything a developer does here. Each target makes the machine ready first (.ci/setup), so it works on a fresh one.
# One profile (dev, dependencies optimised) and one set of features serve all targets, so that nothing is compiled twice; only verify also
# checks the client alone, which differs on purpose.

CARGO := cargo
.DEFAULT_GOAL := help
.PHONY: help demo build test test-ceph compare fence-report verify fix clean setup-build setup-test setup-ceph

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: build ## three nodes, three hosts, one database-like writer: kill its host, watch it fail over
	target/debug/berth demo $(ARGS)

build: setup-build ## the binary, target/debug/berth
	$(CARGO) build --locked -p berth

test: setup-test ## every test, end-to-end ones included; ARGS="name" picks some
	@.ci/test $(ARGS)

test-ceph: setup-ceph ## the cephfs fence on a real Ceph of one node (as root; installs Ceph); not part of make test
	$(CARGO) test --locked -p berth-jepsen --features ceph --test ceph -- --nocapture

compare: setup-test ## Berth against Docker Swarm, same faults, same hosts (40 minutes, as root); writes docs/comparison.md
	$(CARGO) build --locked --workspace --bins
	target/debug/berth-jepsen compare $(ARGS)

fence-report: setup-test ## every fault against every storage, judged by what was written (50 minutes, as root); ARGS="--scenario frozen --driver image"
	$(CARGO) build --locked --workspace --bins
	target/debug/berth-jepsen fence-report $(ARGS)

verify: setup-build ## all checks but the tests; changes nothing
	$(CARGO) fmt --all --check
	.ci/bans
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p berth --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items
	if cargo-deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; fi

fix: setup-build ## rewrite what can be rewritten: format, clippy's suggestions
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

clean: ## remove what was built here (the RocksDB library in the user's cache stays)
	$(CARGO) clean

setup-build:
	@.ci/setup build

setup-test:
	@.ci/setup test

setup-ceph:
	@.ci/setup ceph
