#!/usr/bin/env bash
# Runs every fuzz target of the repository, one after the other. Without it,
# `go test` runs their seeds alone.
#
#   .ci/fuzz.sh          all of them within about a minute, from their seeds
#   .ci/fuzz.sh <time>   each for so long, such as 10m, or 20000x for so many
#                        inputs, from what earlier runs have found too
#
# An input that fails is written to testdata/fuzz beside the target, and is shown
# here. Commit it with the mend: `go test` tries it from then on.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

budget=35000 # milliseconds of all targets together, where no time is given
binaries=$(mktemp -d) || exit 1
trap 'rm -rf "$binaries"' EXIT

# packages lists the folders with targets.
packages() { grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u; }

# binary names the test binary of a package.
binary() { echo "$binaries/${1//\//_}"; }

# targets lists package and name of each, as the test binary knows them.
targets() {
	local package names
	for package in $(packages); do
		go test -c -fuzz=. -o "$(binary "$package")" "$package" >&2 &&
			names=$("$(binary "$package")" -test.list '^Fuzz') || return 1
		sed "s|^|$package |" <<<"$names"
	done
}

# fuzz runs one target. It is run once more where the seeds alone took the whole
# time, and where the end of the time was taken for a failure, as happens now and
# then: that one has no input.
fuzz() {
	local package=$1 name=$2 time output corpus
	corpus=$found/$(go list "$package")
	for time in "$each" "$again"; do
		if output=$(cd "$package" && "$(binary "$package")" -test.run '^$' -test.fuzz "^$name\$" \
			-test.fuzztime "$time" -test.fuzzcachedir "$corpus" -test.parallel 2 -test.timeout 0 2>&1); then
			grep '^fuzz: ' <<<"$output" | tail -n 1 | tee "$binaries/last"
			grep -q 'baseline' "$binaries/last" || return 0
		elif grep -q 'Failing input' <<<"$output" || ! grep -q 'context deadline exceeded' <<<"$output"; then
			tail -n 60 <<<"$output"
			show "$package" "$output"
			return 1
		fi
	done
	echo "$name got no further than its seeds, or failed twice at the end of its time:"
	tail -n 10 <<<"$output"
	return 1
}

# show prints the input that a target failed with.
show() {
	local file
	file=$(sed -n 's/.*Failing input written to \(testdata\S*\).*/\1/p' <<<"$2")
	if [ -n "$file" ]; then
		echo "the input that fails is $1/$file:"
		cat "$1/$file"
	fi
}

all=$(targets) || exit 1
count=$(grep -c . <<<"$all")
if [ "$count" = 0 ]; then
	echo "no fuzz target was found" >&2
	exit 1
fi
if [ $# = 0 ]; then
	each=$((budget / count))ms again=$((5 * budget / count))ms
	found=$binaries/found # trying all that was found before would take the whole time
else
	each=$1 again=$1
	found=$(go env GOCACHE)/fuzz
fi
failed=0
while read -r package name; do
	echo "-- $package $name, $each"
	fuzz "$package" "$name" </dev/null || failed=$((failed + 1))
done <<<"$all"
echo "$count fuzz targets, $failed failed"
[ "$failed" = 0 ]
