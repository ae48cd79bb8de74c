// Package headlesspb is the messages and the service of the headless API, made
// from the files in ../proto.
package headlesspb

//go:generate sh -c "cd ../proto && go run github.com/bufbuild/buf/cmd/buf@v1.59.0 generate"
