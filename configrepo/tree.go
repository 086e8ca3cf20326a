package configrepo

import "context"

// The modes of Git that an Entry can have.
const (
	ModeDir        uint32 = 0o040000
	ModeFile       uint32 = 0o100644
	ModeExecutable uint32 = 0o100755
	ModeSymlink    uint32 = 0o120000
	ModeSubmodule  uint32 = 0o160000
)

// Entry is one name in a directory of a Tree.
type Entry struct {
	Name      string
	Mode      uint32 // Git's: ModeDir, ModeFile, …
	ID        string // Git object id, 40 hexadecimal digits
	SizeBytes int64  // of a file; known without reading it
}

// Tree is a config repository at one commit, or a working copy. Paths are
// slash-separated, from the top, without "." and ".."; the top is "".
type Tree interface {
	// Entries lists a directory. An error of class ErrNotFound says that there
	// is no such directory.
	Entries(ctx context.Context, dir string) ([]Entry, error)
	// Read returns a file's content. A file of more than maxBytes is an error
	// before it is read; one that does not exist is of class ErrNotFound.
	Read(ctx context.Context, path string, maxBytes int64) ([]byte, error)
}

// File is a file's path from the top of its Tree, and its content.
type File struct {
	Path    string
	Content []byte
}
