#!/usr/bin/env bash
# Runs all tests, on a Debian machine with Go, as root or with sudo. It installs
# the Debian packages that are missing.
#
#   ./test.sh         everything, in less than 15 minutes on two cores; where
#                     nothing was compiled or downloaded yet, add some minutes
#   ./test.sh long    the same with the long forms: times are compared of 2,000
#                     sign-ins of each kind while nothing else runs, 200 kills,
#                     100 reloads, ten minutes for each fuzz target, and one hour
#                     of steady load (docs/soak.md). Most of a working day.
#
# POSTERN_SHORTEN=n has the long form take an n-th part of each, for trying out
# the form itself. POSTERN_SHOTS=folder keeps pictures of all pages. Known
# vulnerabilities are not looked for, since govulncheck needs its database from
# the network.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")" || exit 1

unset POSTERN_LONG POSTERN_SOAK
case "${1-}" in
'') ;;
long) export POSTERN_LONG=1 POSTERN_SHORTEN=${POSTERN_SHORTEN-1} ;;
*) echo "usage: $0 [long]" >&2 && exit 2 ;;
esac
if [[ ! ${POSTERN_SHORTEN-1} =~ ^[1-9][0-9]?$ ]]; then
	echo "POSTERN_SHORTEN must be a number from 1 to 99" >&2
	exit 2
fi

# No test may be skipped, and the program under test says what it races about.
unset POSTERN_NO_EXIM
export POSTERN_E2E_RACE=${POSTERN_E2E_RACE-1}

staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
results=()
failed=0
begin=$SECONDS

# step runs a command and notes how it went.
step() {
	local name=$1 start=$SECONDS
	shift
	echo
	echo "== $name"
	if "$@"; then
		results+=("passed  $((SECONDS - start)) s  $name")
	else
		results+=("FAILED  $((SECONDS - start)) s  $name")
		failed=$((failed + 1))
	fi
}

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# install installs the packages whose programs are missing.
install() {
	local missing=()
	command -v gcc >/dev/null || missing+=(gcc libc6-dev) # for the race detector
	[ -x /usr/bin/chromium ] || missing+=(chromium)
	[ -x /usr/sbin/exim4 ] || missing+=(exim4-daemon-light)
	command -v npm >/dev/null || missing+=(nodejs npm) # for an SDK, which npm fetches
	command -v curl >/dev/null || missing+=(curl) # for the examples of docs/headless.md, as is the next
	command -v python3 >/dev/null || missing+=(python3)
	if [ ${#missing[@]} = 0 ]; then
		echo "nothing is missing"
		return
	fi
	as_root apt-get update &&
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

go_is_there() {
	command -v go >/dev/null || { echo "go is missing: install Go as go.mod says, from https://go.dev/dl/" >&2 && return 1; }
	go version
}

formatted() {
	local files
	files=$(gofmt -l .) || return 1
	[ -z "$files" ] && return
	gofmt -d .
	return 1
}

# long says whether the long forms are wanted.
long() { [ -n "${POSTERN_LONG-}" ]; }

unit() {
	local packages
	packages=$(go list ./... | grep -v '/e2e\b') || return 1
	# shellcheck disable=SC2086
	as_tester go test -race -timeout "$(long && echo 2h || echo 20m)" $packages
}

# timing compares times, so nothing else may run, and no race detector.
timing_test='^TestNobodyCanTellWhoMayEnter$'
timing() {
	POSTERN_E2E_RACE= as_tester go test -count=1 -v -timeout 1h -run "$timing_test" ./e2e
}

# benchmarks shows that they work; figures are for bench, on a quiet machine.
benchmarks() {
	local packages
	packages=$(go list ./... | grep -v '/e2e\b') || return 1
	# shellcheck disable=SC2086
	go test -timeout 5m -run '^$' -bench . -benchtime 1x $packages
}

e2e() {
	if long; then
		as_tester go test -count=1 -timeout 4h -parallel 4 -skip "$timing_test" ./e2e/...
	else
		as_tester go test -count=1 -timeout 40m -parallel 4 ./e2e/...
	fi
}

fuzz() {
	if long; then
		.ci/fuzz.sh "$((600 / POSTERN_SHORTEN))s"
	else
		.ci/fuzz.sh
	fi
}

# soak has no race detector either, since it looks at memory and times.
soak() {
	POSTERN_E2E_RACE= POSTERN_SOAK=$((3600 / POSTERN_SHORTEN))s as_tester go test -count=1 -v -timeout 2h -run '^TestSoak$' ./bench/soak
}

# as_tester runs tests as root, which Exim needs.
as_tester() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo --preserve-env "PATH=$PATH" "$@"; fi
}

step "go" go_is_there
step "Debian packages" install
step "gofmt" formatted
step "go vet" go vet ./...
step "staticcheck" go run "$staticcheck" ./...
long && step "times of admitted and refused addresses" timing
step "unit tests, with the race detector" unit
step "benchmarks, once each" benchmarks
step "what Postern adds to Caddy, a quick pass" go run ./bench -short
step "end-to-end tests" e2e
step "fuzzing" fuzz
long && step "steady load" soak

echo
echo "== summary"
printf '%s\n' "${results[@]}"
echo "after $((SECONDS - begin)) s"
echo "$((${#results[@]} - failed)) passed, $failed failed"
[ "$failed" = 0 ]
