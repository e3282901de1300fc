package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/countersign/countersign/storage/sqlite"
	"github.com/countersign/countersign/storage/storagetest"
)

func BenchmarkStore(b *testing.B) {
	storagetest.Benchmark(b, open(b, sqlite.Config{File: filepath.Join(b.TempDir(), "test.db")}), nil)
}

func BenchmarkRotate(b *testing.B) {
	storagetest.BenchmarkRotate(b, open(b, sqlite.Config{File: filepath.Join(b.TempDir(), "test.db")}), nil)
}
