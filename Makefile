# The menu: `make help`.
.DEFAULT_GOAL := build

# cargo with what is there for speed; cargo alone works as well, and needs nothing of this.
CARGO := integration/cargo

# `make TARGET=aarch64-unknown-linux-musl`: another machine's programs, in a place of their own. What that takes is
# installed first (integration/setup). A variable of this name in the environment is somebody else's.
ifeq ($(origin TARGET),command line)
export CARGO_BUILD_TARGET := $(TARGET)
DIST ?= target/dist-$(TARGET)
endif

# For `install`, through the environment: a name may have any character.
export PREFIX  ?= /usr/local
export DESTDIR ?=
export DIST    ?= target/dist

# Where cargo builds; DIST is where `make` leaves what is built, whatever the target.
BUILT := "$${CARGO_TARGET_DIR:-target}/$$(integration/target)/release"

# Tests that need neither root nor a container: the library's own, and these files under tests/.
PURE := --lib --test layers --test 'spec*' --test 'golden*' --test cli_grammar

.PHONY: fuzz-quick fuzz soak test-security kills help build binaries check test test-engines test-packages demo bench bench-quick bench-image install uninstall \
    dist deb pictures bless setup guest test-guest clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: binaries ## the two release binaries in target/dist, their man pages, completions, notices and SBOM
	integration/package/papers "$$DIST"

binaries: ## the binaries alone, static (integration/target says for which C library; TARGET=... for another machine)
	$(if $(filter command line,$(origin TARGET)),integration/setup build)
	TARE_COMMIT=$${TARE_COMMIT:-$$(git describe --always --dirty)} $(CARGO) build --release --bins
	install -d "$$DIST"
	for name in $$(integration/binaries); do install -m 0755 $(BUILT)/"$$name" "$$DIST"; done

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
	$(MAKE) binaries
	integration/demo "$$DIST"

# With the runtimes and tools of Debian's newest suite, or of this machine itself: `make bench SUITE=`.
SUITE ?= forky
IN_SUITE := $(if $(SUITE),--suite $(SUITE))

bench: ## tare beside today's runc, crun and the least possible; writes docs/performance.md (ten minutes, on an idle machine)
	integration/setup bench
	$(MAKE) binaries
	$(CARGO) build --release --example seccomp-compile
	install -D -m 0755 $(BUILT)/examples/seccomp-compile "$$DIST"/examples/seccomp-compile
	integration/bench/bench $(IN_SUITE) --tare "$$DIST"/tare --write docs/performance.md
	integration/bench/shim --tare "$$DIST"/tare --shim "$$DIST"/containerd-shim-tare-v2 --write docs/performance.md
	integration/docs/chart

bench-quick: ## the same with few runs, printed only
	integration/setup bench
	$(MAKE) binaries
	$(CARGO) build --release --example seccomp-compile
	install -D -m 0755 $(BUILT)/examples/seccomp-compile "$$DIST"/examples/seccomp-compile
	integration/bench/bench $(IN_SUITE) --tare "$$DIST"/tare --quick
	integration/bench/shim --tare "$$DIST"/tare --shim "$$DIST"/containerd-shim-tare-v2 --quick

bench-image: ## tare-image beside umoci, skopeo, Podman, Docker and tar; writes docs/performance.md
	integration/setup bench-image
	$(MAKE) binaries
	$(CARGO) build --release --example layers-floor
	integration/bench/image $(IN_SUITE) --tare-image "$$DIST"/tare-image --floor $(BUILT)/examples/layers-floor --write docs/performance.md
	integration/bench/mounted --tare-image "$$DIST"/tare-image --floor $(BUILT)/examples/layers-floor --write docs/performance.md
	integration/bench/image-run $(IN_SUITE) --tare-image "$$DIST"/tare-image --write docs/performance.md
	integration/docs/chart

install: ## what `make` has built, into $(DESTDIR)$(PREFIX): binaries, man pages, completions, documentation; needs no cargo
	integration/package/install "$$DIST"

uninstall: ## removes that again
	integration/package/install --remove "$$DIST"

dist: build ## an archive of it for any Linux, its SBOM and checksums; the same bytes from the same source
	integration/package/dist "$$DIST"

deb: build ## a package for Debian
	integration/package/deb "$$DIST"

fuzz-quick: ## a minute of libFuzzer for each thing that is read from strangers; needs a nightly Rust
	integration/setup fuzz
	integration/fuzz/run

fuzz: ## the same, an hour each
	integration/setup fuzz
	integration/fuzz/run --seconds 3600

soak: dist deb ## every long trial, and its figures into docs/security.md: half a day
	integration/setup fuzz
	integration/security/soak --dist "$$DIST" --write

test-security: ## each known attack with its control, on this kernel and on older ones, then some failed system calls: an hour
	integration/setup
	integration/security/test
	integration/security/injection --tare "$${CARGO_TARGET_DIR:-target}/$$(integration/target)/debug/tare" --points 200

kills: ## 200 SIGKILLs (KILLS=N) of tare-image as layers are written, as bundles and containers come and go; of the shim, containerd, dockerd
	TARE_KILLS=$(or $(KILLS),200) $(CARGO) test --test image kill
	TARE_KILLS=$(or $(KILLS),200) $(CARGO) test --test image_run kills::
	$(MAKE) binaries
	integration/engines/shim --alone --all --times $(or $(KILLS),200) --only 'killed at any moment' --tare "$$DIST"/tare --shim "$$DIST"/containerd-shim-tare-v2

test-packages: deb dist ## the packages, installed in bookworm, trixie and forky; the same build in two folders
	integration/package/test --all "$$DIST"

pictures: build ## docs/terminal.svg, of a real session, and the bars of the figures in docs/performance.md
	integration/docs/terminal --tare "$$DIST"/tare
	integration/docs/chart

guest: ## the emulated machine, once: integration/guest/README.md; ARCH=aarch64 for one of that architecture
	integration/guest/build $(if $(ARCH),--arch $(ARCH))

test-guest: ## what takes a machine of its own, in the guest; every line of integration/guest/tests. ARCH=aarch64
	integration/guest/test $(if $(ARCH),--arch $(ARCH)) --all

bless: ## write the golden plans anew; read the difference before committing
	TARE_BLESS=1 $(CARGO) test --test 'golden*'

setup: ## install what the tests need, from Debian
	integration/setup

clean: ## remove what was built
	cargo clean
