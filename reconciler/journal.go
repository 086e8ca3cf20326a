package reconciler

import (
	"log/slog"
	"os"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

// journal keeps a running deployment's finer steps on disk between two pushes.
// The ledger has the truth: a journal that can not be written is worth a line
// in the log and nothing more. A nil journal drops everything.
type journal struct {
	file *ledger.Journal
	dir  string
	id   string
	log  *slog.Logger
}

// journalAge is how long the journal of a driver that died is kept: longer than
// anybody looks for what happened.
const journalAge = 30 * 24 * time.Hour

func openJournal(dir, id string, log *slog.Logger) *journal {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Warn("make journal directory", "err", err)
		return nil
	}
	if err := ledger.SweepJournals(dir, time.Now().Add(-journalAge)); err != nil {
		log.Warn("sweep journals", "err", err)
	}
	file, err := ledger.OpenJournal(dir, id)
	if err != nil {
		log.Warn("open journal", "deployment", id, "err", err)
		return nil
	}
	return &journal{file: file, dir: dir, id: id, log: log}
}

// write keeps how a step ended.
func (j *journal) write(s stella.Step) {
	if j != nil {
		j.warn(j.file.Append(journalLine(s)))
	}
}

// mention is for whoever follows: that a step began is not worth a wait for the
// disk.
func (j *journal) mention(s stella.Step) {
	if j != nil {
		j.warn(j.file.Mention(journalLine(s)))
	}
}

// close keeps what was written: the ledger does not have it.
func (j *journal) close() {
	if j != nil {
		_ = j.file.Close() // what was to be kept was synced line by line
	}
}

func (j *journal) warn(err error) {
	if err != nil {
		j.log.Warn("write journal", "deployment", j.id, "err", err)
	}
}

func (j *journal) remove() {
	if j == nil {
		return
	}
	j.close()
	if err := ledger.RemoveJournal(j.dir, j.id); err != nil {
		j.log.Warn("remove journal", "deployment", j.id, "err", err)
	}
}
