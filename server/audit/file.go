package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lookEvery is how often a File looks whether its path still leads to it.
const lookEvery = time.Second

// File is a file that lines are appended to. When its path leads elsewhere,
// because logrotate has moved or deleted it, it is opened anew: no signal is
// needed, and what is written until then, for a second at most, is in the old
// file. Its methods must not be called at the same time; a Log sees to that.
type File struct {
	path string
	now  func() time.Time

	file   *os.File
	looked time.Time
	// torn is whether the last line has no end: the disk was full, perhaps already
	// when the process before us wrote it.
	torn bool
}

// OpenFile opens a file for appending, and creates it, and its folder, for their
// owner alone.
func OpenFile(path string, now func() time.Time) (*File, error) {
	f := &File{path: path, now: now}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open() error {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return fmt.Errorf("creating the folder of the audit file: %w", err)
	}
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit file: %w", err)
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.looked, f.torn = file, f.now(), torn(file)
	return nil
}

// torn reports whether the last line of a file has no end: the process before us ran
// out of disk. Of what is no file, or may not be read, that is not known.
func torn(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	reader, err := os.Open(file.Name())
	if err != nil {
		return false
	}
	defer reader.Close()
	var last [1]byte
	_, err = reader.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// Write appends a line. A file that cannot be opened anew is written to where it
// was moved, and the error says so. A line that was cut short is ended before the
// next one, so that it spoils no other.
func (f *File) Write(line []byte) (int, error) {
	moved := f.follow()
	if f.torn {
		if _, err := f.file.Write([]byte("\n")); err != nil {
			return 0, err
		}
		f.torn = false
	}
	n, err := f.file.Write(line)
	f.torn = n > 0 && n < len(line)
	return n, errors.Join(err, moved)
}

// follow opens the file anew if its path leads elsewhere.
func (f *File) follow() error {
	now := f.now()
	if now.Sub(f.looked).Abs() < lookEvery {
		return nil
	}
	here, err := f.file.Stat()
	if err != nil {
		return fmt.Errorf("looking at the audit file: %w", err)
	}
	if there, err := os.Stat(f.path); err == nil && os.SameFile(here, there) {
		f.looked = now
		return nil
	}
	return f.open()
}

// Close closes the file. What is written afterwards is an error.
func (f *File) Close() error { return f.file.Close() }
