package git

import (
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/stella-ops/stella"
)

// ID is the id of a Git object: 40 lower-case hexadecimal digits. The zero
// value, an empty string, means that there is none.
type ID string

// IsZero reports whether there is no object.
func (id ID) IsZero() bool { return id == "" }

// Short returns the first twelve digits, for people.
func (id ID) Short() string { return string(id[:min(12, len(id))]) }

var idRE = regexp.MustCompile(`^[0-9a-f]{40}$`)

const zeroHex = "0000000000000000000000000000000000000000"

// ParseID checks an id. Forty zeros are not an id. Errors are of class
// stella.ErrInvalid.
func ParseID(s string) (ID, error) {
	if !idRE.MatchString(s) || s == zeroHex {
		return "", fmt.Errorf("%w: object id %q: want 40 hexadecimal digits", stella.ErrInvalid, clip(s))
	}
	return ID(s), nil
}

func (id ID) hash() plumbing.Hash { return plumbing.NewHash(string(id)) }

func idOf(h plumbing.Hash) ID {
	if h.IsZero() {
		return ""
	}
	return ID(h.String())
}

// Signature says who made a commit, and when.
type Signature struct {
	Name, Email string    // may be empty; <, > and control characters are dropped when written
	When        time.Time // whole seconds; its zone's offset is kept
}

// Commit is a commit as it was read. Message is untrusted text.
type Commit struct {
	ID, Tree  ID
	Parents   []ID // first parent first; empty for a root
	Author    Signature
	Committer Signature
	Message   string // as stored, usually with a final newline
}

// Options say which remote, and how it may be spoken to.
type Options struct {
	// URL is the remote: a path, file://, https://, ssh:// or user@host:path.
	// http:// is for loopback and for the hosts of AllowHTTP.
	URL string
	// Dir is the cache directory of this remote. It is made with mode 0700 and
	// may be shared by any number of processes.
	Dir string
	// Getenv looks up STELLA_GIT_USERNAME, STELLA_GIT_PASSWORD, STELLA_GIT_TOKEN,
	// STELLA_GIT_SSH_KEY, STELLA_GIT_KNOWN_HOSTS, SSH_AUTH_SOCK, HOME, PATH and
	// the proxy's and Git's own variables. Nil: none is set.
	Getenv func(string) string
	// Clone is where the person works: a directory of a clone, whose git
	// configuration counts besides theirs for who makes commits and how they are
	// signed. Empty: none.
	Clone string
	// Unsigned leaves commits unsigned, whatever git's configuration says: for a
	// demonstration, which must not ask for anybody's keys.
	Unsigned bool
	// AllowHTTP lists hosts (without port) besides loopback that may be spoken
	// to without TLS.
	AllowHTTP []string
	// Timeout bounds one network operation; a fetch that keeps moving may take
	// ten times as long. Zero means one minute.
	Timeout time.Duration
	// MaxFetchBytes bounds one received pack. Zero means 1 GiB.
	MaxFetchBytes int64
	// Logger gets what is worth reading later: rebuilds, retries. Nil: nothing.
	Logger *slog.Logger
}

// Refs is what the remote lists.
type Refs struct {
	// Default is the branch that the remote's HEAD points to, "refs/heads/main";
	// empty when the remote does not say.
	Default string
	// IDs has every listed ref by its full name, tags unpeeled.
	IDs map[string]ID
	// At is when the remote answered.
	At time.Time
}

// Want says what to fetch. The zero value wants nothing: Fetch then only lists.
type Want struct {
	Names    []string // full names; one that the remote does not have is no error
	Prefixes []string // "refs/stella/ledger/"
	Branch   bool     // also the default branch; an error where there is none
	Deep     bool     // the whole history, not only as much as is needed
	// Unchecked keeps the fetched refs out of the last-seen heads: they may be
	// moved and deleted at will. It does not apply to Branch.
	Unchecked bool
}

// Entry is one validated entry of a tree.
type Entry struct {
	Name string
	Mode uint32 // Git's: one of the Mode constants
	ID   ID
	// SizeBytes is the size of a file's or symlink's content, read from its
	// header; zero for directories and submodules.
	SizeBytes int64
}

// The modes of tree entries (gitformat-index(5), "mode").
const (
	ModeDir        uint32 = 0o040000
	ModeFile       uint32 = 0o100644
	ModeExecutable uint32 = 0o100755
	ModeSymlink    uint32 = 0o120000
	ModeSubmodule  uint32 = 0o160000
)

// IsDir reports whether the entry is a directory.
func (e Entry) IsDir() bool { return e.Mode == ModeDir }

// IsFile reports whether the entry is a regular file.
func (e Entry) IsFile() bool { return e.Mode == ModeFile || e.Mode == ModeExecutable }

// Edit is one change to a tree. Exactly one of Content, Graft and Delete is
// meant: Delete wins over Graft, Graft over Content.
type Edit struct {
	Path      string // slash-separated, validated as entries are
	Content   []byte // the new file's bytes; nil is an empty file
	Mode      uint32 // of Content; zero means ModeFile
	Graft     ID     // an object that exists already, put at Path as it is
	GraftMode uint32 // zero means ModeDir
	Delete    bool   // what is at Path goes; it is no error if nothing is there
}

// Draft is a commit to be built.
type Draft struct {
	Parents   []ID
	Base      ID // commit or tree that the edits start from; empty means the empty tree
	Edits     []Edit
	Author    Signature // a zero When means Committer's
	Committer Signature // a zero Name and Email mean Author's
	Message   string
}

// Update moves one ref of the remote from Old to New.
type Update struct {
	Ref string // full name
	Old ID     // empty: the ref must not exist
	New ID     // empty: the ref is deleted
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return s
}
