# The menu: `make help`.
.DEFAULT_GOAL := build

# Asked when it is needed, for setup may have changed it.
TARGET := $$(integration/target)
CARGO  := CARGO_BUILD_TARGET=$(TARGET) cargo

PREFIX  ?= /usr/local
DESTDIR ?=

RELEASE := target/$(TARGET)/release

# Tests that need neither root nor a container: the library's own, and these files under tests/.
PURE := --lib --test layers --test 'spec*' --test 'golden*' --test cli_grammar

.PHONY: help build check test test-engines demo bench bench-quick bench-image install bless setup guest test-guest clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## the two release binaries, static: tare and tare-image (integration/target says for which C library)
	TARE_COMMIT=$$(git describe --always --dirty) $(CARGO) build --release --bins

check: ## format, lints and the tests that need no root; fast
	cargo fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test $(PURE)

test: ## every test, as root; installs what is missing first
	integration/test

test-engines: ## every flow of every engine, with tare and with its usual runtime
	integration/test engines

demo: ## an OCI image is made, unpacked and run; installs what is missing first
	integration/setup demo
	$(MAKE) build
	integration/demo $(RELEASE)

bench: ## tare beside runc, crun and the least possible; writes docs/performance.md (five minutes, on an idle machine)
	integration/setup bench
	$(MAKE) build
	$(CARGO) build --release --example seccomp-compile
	integration/bench/bench --tare $(RELEASE)/tare --write docs/performance.md

bench-quick: ## the same with few runs, printed only
	integration/setup bench
	$(MAKE) build
	$(CARGO) build --release --example seccomp-compile
	integration/bench/bench --tare $(RELEASE)/tare --quick

bench-image: ## tare-image beside umoci, skopeo, Podman and tar; writes docs/performance.md
	integration/setup bench-image
	$(MAKE) build
	$(CARGO) build --release --example layers-floor
	integration/bench/image --tare-image $(RELEASE)/tare-image --floor $(RELEASE)/examples/layers-floor --write docs/performance.md

install: build ## into $(DESTDIR)$(PREFIX)/bin
	install -D -m 0755 $(RELEASE)/tare $(DESTDIR)$(PREFIX)/bin/tare
	install -D -m 0755 $(RELEASE)/tare-image $(DESTDIR)$(PREFIX)/bin/tare-image

guest: ## the emulated machine, once: integration/guest/README.md
	integration/guest/build

test-guest: ## what takes a machine of its own, in the guest; every line of integration/guest/tests
	integration/guest/test --all

bless: ## write the golden plans anew; read the difference before committing
	TARE_BLESS=1 $(CARGO) test --test 'golden*'

setup: ## install what the tests need, from Debian
	integration/setup

clean: ## remove what was built
	cargo clean
