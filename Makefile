# What you need: Go, git and make. See README.md.
GO ?= go
GOLANGCI_LINT := bin/golangci-lint
COMPOSE := bin/docker-compose

.PHONY: run build image test crash lint bench clean

# Tells the whole story on this machine: a good release, a bad one, the
# automatic rollback. On a terminal the daemon is left running at the end.
run: build
	@if [ -t 1 ]; then exec bin/stella quickstart --dir .quickstart; \
	else exec bin/stella quickstart --dir .quickstart --exit; fi

build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/stella ./cmd/stella

# A container image of stella with git, made of this machine's packages: no
# engine, base image or network is needed. It is loaded where there is an engine.
image: build
	$(GO) run ./deploy/image -binary bin/stella -o dist/stella-image.tar -version "$$(git describe --tags --always --dirty)"
	@if docker version >/dev/null 2>&1; then docker load -i dist/stella-image.tar; \
	elif podman version >/dev/null 2>&1; then podman load -i dist/stella-image.tar; \
	else echo "no engine answers here: run 'docker load -i dist/stella-image.tar' where there is one"; fi

# The race detector needs a C compiler; some suites need real servers. The
# script installs what is missing where it may, and says what is missing where
# it may not.
test: $(COMPOSE)
	scripts/setup-tests.sh
	$(GO) vet ./...
	STELLA_TEST_DOCKER=1 CGO_ENABLED=1 $(GO) test -race -timeout 25m ./...

# Every fault at every effect of a rollback, a deploy and a bad deploy, and every
# kill of a bad deploy on container engines; about an hour and a half.
# `make test` takes a fixed part of it. Needs what `make test` needs.
crash:
	scripts/setup-tests.sh
	$(GO) test -count=1 -tags faults ./internal/effect
	STELLA_TEST_DOCKER=1 $(GO) test -count=1 -timeout 4h -run '^TestWhateverFails' ./internal/acceptance -every-fault

lint: $(GOLANGCI_LINT)
	$(GOLANGCI_LINT) run ./...

# The linter's version is pinned in its own module. Building it takes two
# minutes, once.
$(GOLANGCI_LINT): tools/go.mod tools/go.sum
	cd tools && CGO_ENABLED=0 $(GO) build -trimpath -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

# What stella is compared with, pinned in its own module. Building it takes less
# than a minute, once.
$(COMPOSE): tools/compose/go.mod tools/compose/go.sum
	cd tools/compose && CGO_ENABLED=0 $(GO) build -trimpath -o ../../$@ github.com/docker/compose/v5/cmd

# The time to roll back, on targets of this machine, changes on a container engine
# beside docker compose, and what the design
# promises, on a generated repository of 50,000 commits and 2,000 environments;
# some minutes. docs/performance.md says what is measured.
bench: $(COMPOSE)
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./internal/benchmark
	STELLA_TEST_DOCKER=1 $(GO) test -run '^$$' -bench '^BenchmarkPass$$' -benchtime 5x -timeout 30m ./target/docker

# Releases on a host target are read-only directories.
clean:
	if [ -d .quickstart ]; then chmod -R u+w .quickstart; fi
	rm -rf bin dist .quickstart .quickstart-docker coverage.out
