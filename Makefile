# pgrex: resource and fence agents for PostgreSQL under Pacemaker. `make help` lists what there is.

VERSION ?= $(shell sed -n 's/^Version: *//p' rpm/pgrex.spec)
COMMIT  ?= $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)

# Where Pacemaker looks for agents: $(OCF_ROOT)/resource.d/<provider>/<agent>.
PREFIX   ?= /usr
OCF_ROOT ?= $(PREFIX)/lib/ocf
DESTDIR  ?=

GO        ?= go
TESTFLAGS ?=
# The tags drop what urfave/cli links for man pages and spelling hints: start-up time and licences.
TAGS      := urfave_cli_no_docs,urfave_cli_no_suggest
LDFLAGS   := -s -w -X pgrex/lib/meta.version=$(VERSION) -X pgrex/lib/meta.commit=$(COMMIT)
BUILD     := CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS)'
TEST      := CGO_ENABLED=0 $(GO) test -tags $(TAGS) $(TESTFLAGS)

AGENTS := pgsql cloudip
# Agents with the drivers of clouds: what is in resource.d hands over to them where they are needed.
WITH_CLOUD := cloudip-azure
# A fence agent's program is named fence_X, its directory fence/X.
FENCES := ipmi azure

# What make test takes from here on is held against its budget, see tests/lab/scenarios.txt.
BEGAN := $(shell date +%s)

# The core of the scenarios is also played on the release of Debian that this is not.
OTHER := $(shell if grep -q trixie /etc/os-release; then echo bookworm; else echo trixie; fi)

.DEFAULT_GOAL := help
.PHONY: help deps build agents test test-full test-matrix unit race contract bench bench-fence bench-ip lab chaos chaos-short fuzz planted demo lint metadata install packages clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and testing needs (Debian 12 and 13; says what to install elsewhere)
	@tests/deps.sh

build: agents ## build the agents and the lab into bin/
	$(BUILD) -o bin/lab ./tests/lab

agents:
	$(BUILD) -o bin/pgsql ./agents/pgsql
	$(BUILD) -tags $(TAGS),lan -o bin/cloudip ./agents/cloudip
	$(BUILD) -o bin/cloudip-azure ./agents/cloudip
	$(foreach f,$(FENCES),$(BUILD) -o bin/fence_$(f) ./fence/$(f) && )true

test: deps build unit contract chaos-short lab ## everything that every change must pass; needs root; at most 45 minutes on 2 cores

test-full: deps build unit contract chaos-short planted ## the same with every scenario of the lab, however long, and the planted bugs; other releases: test-matrix
	PGREX_RELEASES=bookworm $(TEST) -count=1 -timeout 15m -run TestInstall ./tests/packages
	bin/lab suite --full

test-matrix: deps build ## every scenario of the lab on Debian 12 and on Debian 13 (root; hours): ONLY=newcomer,readme JOBS=2
	set -e; roots=; for release in bookworm trixie; do roots="$$roots $$(tests/debian/root.sh $$release)"; done; \
		bin/lab matrix $(if $(ONLY),--only=$(ONLY)) $(if $(JOBS),--jobs=$(JOBS)) $$roots

# -p 3, here and in contract: most of these tests wait for something.
unit: ## tests that need no root and no cluster (under a minute)
	$(TEST) -p 3 ./lib/... ./agents/... ./fence/... ./rpm/... ./docs/... ./tests/fakes/... ./tests/layout/...

race: ## the same under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -tags $(TAGS) $(TESTFLAGS) ./lib/... ./agents/... ./fence/...

contract: build ## the built agents against the outside world's checkers (root)
	$(TEST) -count=1 -timeout 15m -p 3 ./tests/contract/... ./tests/lab/...
	PGREX_RELEASES=trixie $(TEST) -count=1 -timeout 15m ./tests/packages

bench: deps build ## how long faults keep clients waiting, ours beside the reference agents (root; long); BENCH="--runs 2 --faults switchover"
	bin/lab bench $(BENCH)

bench-fence: build ## wall time and processes of our fence agents beside fence-agents' own (root)
	@tests/deps.sh --bench
	PGREX_BENCH=1 $(TEST) -count=1 -timeout 10m -v -run 'TestBench' ./tests/contract/fence ./tests/contract/azure

bench-ip: build ## a virtual IP by our agent beside IPaddr2: take-over, time and processes; requests on Azure (root)
	PGREX_BENCH=1 $(TEST) -count=1 -timeout 10m -v -run 'TestBench' ./tests/contract/cloudip ./tests/contract/cloudip/azure

lab: build ## the scenarios on a real cluster of this machine's namespaces (root)
	root=$$(tests/debian/root.sh $(OTHER)) && bin/lab suite --core --root "$$root"
	bin/lab suite --began=$(BEGAN)

chaos: deps build ## faults chosen by a seed on a real cluster, with checks (root): SEED=7 DURATION=10m CHAOS="--nodes=3 --disk=loop"
	bin/lab chaos --seed $(or $(SEED),1) --duration $(or $(DURATION),3m) $(CHAOS)

# The rounds of these seeds are always the same, see bin/lab chaos --print.
chaos-short: build
	bin/lab chaos --seed 17 --rounds 3 --duration 10m
	bin/lab chaos --seed 318 --rounds 5 --duration 10m --nodes=3 --disk=loop

fuzz: ## every parser with input that nobody thought of, one after the other; a minute each, or TIME=10s
	@grep -rE --include=*_test.go '^func Fuzz' agents fence lib tests | sed -E 's,/[^/]*:func (Fuzz[A-Za-z0-9]*).*, \1,' | sort | while read -r dir name; do \
		$(TEST) -run '^$$' -fuzz "^$$name\$$" -fuzztime $(or $(TIME),1m) ./$$dir || exit 1; done

planted: deps build ## agents with a bug planted in them must fail the checks of chaos, and pass them without it (root; 12 minutes): BUG=no-fsync
	bin/lab chaos --name planted --planted $(or $(BUG),all)

demo: deps build ## watch a failover: a pair comes up, its primary is killed, the timeline is shown; PROFILE=azure: in the lab's Azure (root)
	bin/lab demo $(if $(PROFILE),--profile=$(PROFILE))

lint: ## vet, gofmt and the linters of .golangci.yml
	tests/lint.sh

metadata: ## regenerate metadata/ (with the manual pages), docs/*-parameters.md and the lists of linked packages
	PGREX_UPDATE=1 $(TEST) -count=1 -run 'TestGenerated|TestLinkedPackages' ./agents/... ./fence/... ./tests/layout/...

install: agents ## install the agents below $(DESTDIR)$(PREFIX)
	$(foreach a,$(AGENTS),install -D -m 755 bin/$(a) $(DESTDIR)$(OCF_ROOT)/resource.d/pgrex/$(a) && )true
	$(foreach c,$(WITH_CLOUD),install -D -m 755 bin/$(c) $(DESTDIR)$(PREFIX)/libexec/pgrex/$(c) && )true
	$(foreach f,$(FENCES),install -D -m 755 bin/fence_$(f) $(DESTDIR)$(PREFIX)/sbin/fence_$(f) && )true
	install -d $(addprefix $(DESTDIR)$(PREFIX)/share/,pgrex/metadata man/man7 man/man8)
	install -m 644 metadata/*.xml $(DESTDIR)$(PREFIX)/share/pgrex/metadata/
	$(foreach a,$(AGENTS),gzip -9nc metadata/ocf_pgrex_$(a).7 >$(DESTDIR)$(PREFIX)/share/man/man7/ocf_pgrex_$(a).7.gz && )true
	$(foreach f,$(FENCES),gzip -9nc metadata/fence_$(f).8 >$(DESTDIR)$(PREFIX)/share/man/man8/fence_$(f).8.gz && )true
	install -D -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/pgrex/LICENSE
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/pgrex/README.md
	install -d $(DESTDIR)$(PREFIX)/share/doc/pgrex/docs/examples
	install -m 644 docs/*.md docs/*.svg docs/*.tsv $(DESTDIR)$(PREFIX)/share/doc/pgrex/docs/
	install -m 644 $(filter-out %.go,$(wildcard docs/examples/*)) $(DESTDIR)$(PREFIX)/share/doc/pgrex/docs/examples/

packages: ## build the packages of the checked-out commit into dist/: rpm, and from them deb
	VERSION=$(VERSION) rpm/build.sh dist

clean: ## remove what was built
	rm -rf bin dist
