package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/postern-auth/postern/gateway"
	"github.com/postern-auth/postern/store/badgerstore"
)

// nodes are the open stores by their folder: one, but for a moment at the end of
// a configuration. Configurations share them over reloads.
var nodes = caddy.NewUsagePool()

// sharedNode is a node in the pool.
type sharedNode struct {
	*gateway.Node
	folder string
	log    *atomic.Pointer[slog.Logger] // where what it logs goes
}

// Destruct closes the node when its last user is gone.
func (n *sharedNode) Destruct() error { return n.Close() }

func (n *sharedNode) release() error {
	_, err := nodes.Delete(n.folder)
	return err
}

// openNode returns the node of the folder, which it opens where it is not open
// yet.
func openNode(folder string, log *slog.Logger) (*sharedNode, error) {
	if err := refuseOther(folder); err != nil {
		return nil, err
	}
	folder, err := makeFolder(folder)
	if err != nil {
		return nil, fmt.Errorf("store: %w; name a folder that is writable for Caddy, as in `store badger /var/lib/caddy/email_auth`", err)
	}
	node, _, err := nodes.LoadOrNew(folder, func() (caddy.Destructor, error) { return newNode(folder, log) })
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return node.(*sharedNode), nil
}

// refuseOther refuses another folder than the one that is in use: sessions and
// sign-in requests would be lost. It makes nothing.
func refuseOther(folder string) error {
	real := realPath(folder)
	var other string
	nodes.Range(func(key, _ any) bool {
		if key.(string) != real {
			other = key.(string)
		}
		return other == ""
	})
	if other != "" {
		return fmt.Errorf("store: %s is in use, and a reload cannot change the store to %s; restart Caddy for that", other, real)
	}
	return nil
}

// realPath follows the links of a path, as far as it is there.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	parent := filepath.Dir(path)
	if parent == path {
		return path
	}
	return filepath.Join(realPath(parent), filepath.Base(path))
}

// makeFolder makes the folder for its owner alone and returns its real path.
func makeFolder(folder string) (string, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return "", err
	}
	return real, os.Chmod(real, 0o700)
}

func newNode(folder string, log *slog.Logger) (*sharedNode, error) {
	database := filepath.Join(folder, "db")
	_, err := os.Stat(filepath.Join(database, "MANIFEST"))
	fresh := errors.Is(err, os.ErrNotExist)
	keys, err := gateway.OpenKeys(filepath.Join(folder, "keys.json"), fresh, time.Now())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the database in %s is there but its key file keys.json is not: restore that from a backup, or remove the folder, which signs everybody out", folder)
	}
	if err != nil {
		return nil, err
	}
	nodeLog, to := newLatestLog(log)
	db, err := badgerstore.Open(badgerstore.Config{Dir: database, Log: nodeLog})
	if err != nil {
		return nil, err
	}
	return &sharedNode{Node: gateway.NewNode(db, keys, nodeLog), folder: folder, log: to}, nil
}
