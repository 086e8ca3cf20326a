package ledger

import "time"

// Complete fills in an event as Append does, at a given time.
func Complete(b Book, e Event, o Options, now time.Time) (Event, error) {
	return filler{o: o, now: now}.complete(b, e)
}

// Message is the commit message of an entry.
func Message(before Book, e Entry) string { return message(before, e) }

// ParseJournal reads a journal's bytes.
func ParseJournal(data []byte) []JournalLine { return parseJournal(data) }

// BlobID is the id that git gives to a file's content.
func BlobID(data []byte) string { return string(blobID(data)) }

// What the tests need of the package's bounds.
const (
	MaxAttempts = maxAttempts
	KeepNewest  = keepNewest
	MaxText     = maxText
)
