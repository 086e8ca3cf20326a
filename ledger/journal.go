package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/effect"
	"github.com/stella-ops/stella/internal/safe"
)

// Bounds of a journal. A journal that is full drops what comes; the ledger
// still gets the outcome.
const (
	MaxJournalBytes     = 4 << 20
	maxJournalLineBytes = 16 << 10
)

// JournalLine is one line of a journal.
type JournalLine struct {
	At     time.Time         `json:"at"`
	Step   string            `json:"step"`   // one of stella's Step constants
	Target string            `json:"target"` // empty for the whole environment
	Event  string            `json:"event"`  // "running", "succeeded", or what else there is to say
	Error  string            `json:"error"`
	Detail map[string]string `json:"detail"`
}

// Journal is the finer trace of a running deployment on the disk of its driver:
// JSON lines, each on disk before Append returns. After a crash it says how far
// the driver got since its last push. It is safe for concurrent use.
type Journal struct {
	mu   sync.Mutex // guards what follows
	file *os.File
	size int64
	full bool
}

const journalSuffix = ".jsonl"

var journalRE = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}-[1-9][0-9]{0,18}$`)

func journalPath(dir, deployment string) (string, error) {
	if !journalRE.MatchString(deployment) {
		return "", refuse(stella.ErrInvalid, "journal of %q", safe.Clip(deployment, 100))
	}
	return filepath.Join(dir, deployment+journalSuffix), nil
}

// OpenJournal opens the journal of a deployment for appending, and makes it and
// its directory where there is none. A last line that a crash cut short is
// removed.
func OpenJournal(dir, deployment string) (*Journal, error) {
	path, err := journalPath(dir, deployment)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: file}
	if err := errors.Join(j.mend(), durable.SyncDir(dir)); err != nil {
		return nil, errors.Join(fmt.Errorf("open journal: %w", err), file.Close())
	}
	return j, nil
}

// mend cuts the file after its last whole line.
func (j *Journal) mend() error {
	data, err := readAtMost(j.file, MaxJournalBytes+maxJournalLineBytes)
	if err != nil {
		return err
	}
	whole := int64(bytes.LastIndexByte(data, '\n') + 1)
	if whole < int64(len(data)) {
		if err := j.file.Truncate(whole); err != nil {
			return err
		}
	}
	j.size = whole
	return nil
}

func readAtMost(f *os.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(info.Size(), most))
	n, err := f.ReadAt(data, 0)
	if n == len(data) {
		err = nil
	}
	return data[:n], err
}

// Append writes a line and returns when it is on disk. What is too long is cut;
// a journal that has reached MaxJournalBytes says so once and takes no more.
func (j *Journal) Append(l JournalLine) error { return j.append(l, true) }

// Mention is Append that does not wait for the disk: a crash of the machine, not
// of the process, may lose the line.
func (j *Journal) Mention(l JournalLine) error { return j.append(l, false) }

func (j *Journal) append(l JournalLine, sync bool) error {
	line, err := journalLine(l)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.full {
		return nil
	}
	if j.size+int64(len(line)) > MaxJournalBytes {
		j.full = true
		if line, err = journalLine(JournalLine{At: l.At, Event: "the journal is full"}); err != nil {
			return err
		}
	}
	err = effect.Do("append", j.file.Name(), func() error {
		n, err := j.file.Write(line)
		j.size += int64(n)
		if sync && err == nil {
			err = j.file.Sync()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

func journalLine(l JournalLine) ([]byte, error) {
	l.At, l.Error, l.Detail = utc(l.At), clip(l.Error), dict(l.Detail)
	line, err := json.Marshal(l)
	if err == nil && len(line) > maxJournalLineBytes {
		l.Detail = map[string]string{}
		line, err = json.Marshal(l)
	}
	if err != nil {
		return nil, fmt.Errorf("write journal: %w: %w", stella.ErrInvalid, err)
	}
	if len(line) > maxJournalLineBytes {
		return nil, refuse(stella.ErrInvalid, "a journal line of %d bytes", len(line))
	}
	return append(printable(line), '\n'), nil
}

// Close closes the journal; its lines stay.
func (j *Journal) Close() error { return j.file.Close() }

// ReadJournal returns a journal's lines, oldest first. A line that is torn or
// not a line of a journal ends it. Without a journal the error is of class
// stella.ErrNotFound.
func ReadJournal(dir, deployment string) ([]JournalLine, error) {
	path, err := journalPath(dir, deployment)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse(stella.ErrNotFound, "journal of %s", deployment)
	}
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	data, err := readAtMost(file, MaxJournalBytes+maxJournalLineBytes)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return parseJournal(data), nil
}

func parseJournal(data []byte) []JournalLine {
	lines := []JournalLine{}
	for {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		var l JournalLine
		if !ok || decode(line, 2*maxJournalLineBytes, false, &l) != nil {
			return lines
		}
		l.At, l.Detail = utc(l.At), dict(l.Detail)
		lines, data = append(lines, l), rest
	}
}

// RemoveJournal removes a journal once the outcome is recorded. It is no error
// when there is none.
func RemoveJournal(dir, deployment string) error {
	path, err := journalPath(dir, deployment)
	if err != nil {
		return err
	}
	if err := durable.Remove(path); err != nil {
		return fmt.Errorf("remove journal: %w", err)
	}
	return nil
}

// SweepJournals removes the journals that nobody has written to since a time:
// those of drivers that died. Their deployments are in the ledger, as far as
// they got.
func SweepJournals(dir string, since time.Time) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list journals: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), journalSuffix)
		if !ok || !e.Type().IsRegular() || !journalRE.MatchString(id) {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.ModTime().Before(since) {
			continue // gone meanwhile, or young
		}
		if err := RemoveJournal(dir, id); err != nil {
			return err
		}
	}
	return nil
}
