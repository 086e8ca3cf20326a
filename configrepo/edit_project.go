package configrepo

import (
	"fmt"
	"reflect"
	"strconv"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// The bounds of retention.minVersions. One is what readiness needs: the version
// that a rollback goes back to.
const (
	leastMinVersions = 1
	mostMinVersions  = 1000
)

// SetMinVersions returns a stella.yaml with another retention.minVersions. Every
// other byte stays, comments and line breaks among them. It is idempotent.
//
// Errors are Problems where src is not a project, and of class ErrInvalid where
// n is out of range or src is written in a way that can not be edited.
func SetMinVersions(src []byte, n int) ([]byte, error) {
	if n < leastMinVersions || n > mostMinVersions {
		err := fmt.Errorf("%w: %d versions: want %d to %d", stella.ErrInvalid, n, leastMinVersions, mostMinVersions)
		return nil, stella.WithHint(err, "keep at least the version that a rollback goes back to: --min-versions 1")
	}
	was, doc, err := parseProject(src)
	if err != nil {
		return nil, err
	}
	root, text := doc.Root(), strconv.Itoa(n)
	e := &patch{source: newSource(src, root.Node())}
	switch at := root.At("retention"); {
	case at.Has("minVersions") && was.MinVersions == n:
		return src, nil
	case at.Has("minVersions"):
		node := at.At("minVersions").Node() // as a number, without quotes
		e.edits = append(e.edits, splice{e.offset(node), e.end(node), text})
	case root.Has("retention"):
		in := e.offset(at.Node()) + 1 // {}: it has no other field
		e.edits = append(e.edits, splice{in, in, "minVersions: " + text})
	case isFlow(root.Node()):
		e.insertFlow(root.Node(), len(root.Node().Content)-2, []string{"retention: {minVersions: " + text + "}"})
	default:
		node := root.Node()
		e.insertLines(e.lastLine(node.Content[len(node.Content)-1]), node.Column-1, []string{"retention:", "  minVersions: " + text})
	}
	out, err := e.splices(e.edits)
	if err == nil {
		var is *Project
		want := *was
		want.MinVersions = n
		if is, _, err = parseProject(out); err == nil && !reflect.DeepEqual(*is, want) {
			err = errEditStyle
		}
	}
	if err != nil {
		return nil, notEditable(ProjectPath, err)
	}
	return out, nil
}

func parseProject(src []byte) (*Project, *strictyaml.Doc, error) {
	if isLFS(src) {
		return nil, nil, Problems{{Path: ProjectPath, What: "is a Git LFS pointer and not the file", Fix: "commit the file itself"}}
	}
	doc := strictyaml.Parse(src)
	p := strictyaml.Read(doc, projectShape())
	if !doc.OK() {
		return nil, nil, problemsOf(ProjectPath, doc)
	}
	return &p, doc, nil
}
