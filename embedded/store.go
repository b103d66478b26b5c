//go:build !slim

package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"go.temporal.io/server/common/config"
	sqliteplugin "go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/schema/sqlite"
	"google.golang.org/protobuf/types/known/durationpb"
)

// retention is how long closed incidents stay readable in the server; their
// reports and bundles stay in the evidence store.
const retention = 30 * 24 * time.Hour

// prepareStore creates the schema in a new store and the namespace.
func prepareStore(cfg *config.Config, opts Options) error {
	sql := cfg.Persistence.DataStores[sqliteplugin.PluginName].SQL
	if err := prepareSchema(sql, opts.File); err != nil {
		return err
	}
	namespace, err := sqlite.NewNamespaceConfig(clusterName, opts.Namespace, false, nil)
	if err != nil {
		return fmt.Errorf("describing namespace %s: %w", opts.Namespace, err)
	}
	namespace.Detail.Config.Retention = durationpb.New(retention)
	if err := sqlite.CreateNamespaces(sql, namespace); err != nil {
		return fmt.Errorf("creating namespace %s: %w", opts.Namespace, err)
	}
	return nil
}

// prepareSchema writes the schema into a new file and refuses a file of a
// schema this build does not know: the server itself checks nothing.
func prepareSchema(sql *config.SQL, file string) error {
	if file == "" {
		return nil // the driver sets up memory stores by itself
	}
	marker := file + ".schema"
	known := sqlite.Version + "\n"
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if err := sqlite.SetupSchema(sql); err != nil {
			return fmt.Errorf("creating the schema in %s: %w", file, err)
		}
		return os.WriteFile(marker, []byte(known), 0o600)
	}
	found, err := os.ReadFile(marker)
	if err != nil {
		return fmt.Errorf("reading the schema version of %s (move the file away to start empty): %w", file, err)
	}
	if string(found) != known {
		return fmt.Errorf("opening %s: its schema is version %s, this build knows %s; move the file away to start empty",
			file, strings.TrimSpace(string(found)), sqlite.Version)
	}
	return nil
}

// fileLock keeps a second process off the store: two servers on one SQLite
// file both start and stay silent.
type fileLock struct{ file *os.File }

func lockFile(store string) (*fileLock, error) {
	if store == "" {
		return &fileLock{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(store), 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of %s: %w", store, err)
	}
	file, err := os.OpenFile(store+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of %s: %w", store, err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("locking %s: another process is using it; stop that one first: %w", store, err)
	}
	return &fileLock{file: file}, nil
}

func (l *fileLock) release() {
	if l != nil && l.file != nil {
		l.file.Close() // closing drops the lock
	}
}
