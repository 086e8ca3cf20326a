package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/stella-ops/stella"
)

// maxLogBytes is how large a log file becomes; there are two of them.
const maxLogBytes = 1 << 20

// logFile keeps the newest output of a service in two files, current and
// previous. What can not be written is dropped: a full disk must not stop the
// service.
type logFile struct {
	dir string

	mu   sync.Mutex // guards what follows
	f    *os.File   // nil while none could be opened
	size int64
	line []byte // the end of the last line that was not empty, bounded
	next []byte // the line under way, bounded
}

func openLog(dir string) *logFile { return &logFile{dir: dir} }

// Write implements io.Writer and never fails.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remember(p)
	l.write(p)
	return len(p), nil
}

// note writes a line of the shim's own, which is not the process's last.
func (l *logFile) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(fmt.Appendf(nil, "stella: "+format+"\n", args...))
}

// write appends; the caller holds the mutex.
func (l *logFile) write(p []byte) {
	if l.f != nil && l.size+int64(len(p)) > maxLogBytes {
		_ = l.f.Close()
		l.f = nil
		_ = os.Rename(filepath.Join(l.dir, "current"), filepath.Join(l.dir, "previous"))
	}
	if l.f == nil {
		l.open()
	}
	if l.f != nil {
		n, _ := l.f.Write(p)
		l.size += int64(n)
	}
}

// open opens the current file at its end; a link in its place is not followed.
func (l *logFile) open() {
	f, err := os.OpenFile(filepath.Join(l.dir, "current"), os.O_WRONLY|os.O_CREATE|os.O_APPEND|openNoFollow, 0o600)
	if err != nil {
		return
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return
	}
	l.f, l.size = f, fi.Size()
}

// remember keeps the last line for whoever asks why the process ended.
func (l *logFile) remember(p []byte) {
	const most = 256
	for len(p) > 0 {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		l.next = append(l.next, text[:min(len(text), most)]...)
		l.next = l.next[:min(len(l.next), most)]
		if ended && len(bytes.TrimSpace(l.next)) > 0 {
			l.line = slices.Clone(l.next)
		}
		if ended {
			l.next = l.next[:0]
		}
		p = rest
	}
}

// lastLine returns the last line that was not empty, whole or not.
func (l *logFile) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(bytes.TrimSpace(l.next)) > 0 {
		return string(l.next)
	}
	return string(l.line)
}

// Logs returns the end of a component's output, at most maxBytes of it (zero:
// everything that is kept, 2 MiB), whole lines where it had to be cut. It is
// the process's own text: the caller makes it safe to print. A service that was
// never started here is of class stella.ErrNotFound.
func (h *Host) Logs(_ context.Context, component string, maxBytes int64) ([]byte, error) {
	if _, err := stella.ParseName(component); err != nil {
		return nil, err
	}
	if maxBytes <= 0 || maxBytes > 2*maxLogBytes {
		maxBytes = 2 * maxLogBytes
	}
	var all []byte
	for _, name := range []string{"current", "previous"} {
		data, err := tail(filepath.Join(h.lay.logs(component), name), maxBytes-int64(len(all)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read log of %s: %w", component, err)
		}
		all = append(data, all...)
	}
	if all == nil {
		if _, err := os.Lstat(h.lay.spec(component)); err != nil {
			return nil, fmt.Errorf("%w: service %s", stella.ErrNotFound, component)
		}
	}
	return all, nil
}

// tail reads the last most bytes of a file, from the start of a line on.
func tail(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	cut := fi.Size() > most
	if cut {
		if _, err := f.Seek(fi.Size()-most, io.SeekStart); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, most))
	if _, rest, ok := bytes.Cut(data, []byte("\n")); cut && ok {
		data = rest
	}
	return data, err
}
