package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documents lists the files whose structs are printed by -o json, with the
// types that are; none means all of them.
func documents() map[string][]string {
	return map[string][]string{
		"deployment.go":                 {"Deployment", "TargetResult", "Step", "Lock", "Hold"},
		"resource.go":                   {"Resource", "ComponentStatus", "Sticker", "Change", "Action"},
		"reconciler/report.go":          nil,
		"reconciler/baseline_report.go": nil,
		"reconciler/requests.go":        nil,
		"internal/cli/*.go":             nil,
	}
}

// TestEveryMemberIsDocumented holds docs/json.md against the types that the
// command line prints: a member that is not there is no contract.
func TestEveryMemberIsDocumented(t *testing.T) {
	root := filepath.Join("..", "..")
	doc, err := os.ReadFile(filepath.Join(root, "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, code := range regexp.MustCompile("`[^`]+`").FindAllString(string(doc), -1) {
		for _, word := range regexp.MustCompile(`[A-Za-z]+`).FindAllString(code, -1) {
			documented[word] = true
		}
	}
	found := 0
	for pattern, types := range documents() {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range members(t, file, types) {
				found++
				if !documented[m.key] {
					t.Errorf("%s: member %q of %s is not in docs/json.md", file, m.key, m.of)
				}
			}
		}
	}
	const least = 100
	if found < least {
		t.Errorf("only %d members were found: the test looks in the wrong place", found)
	}
}

type jsonMember struct{ of, key string }

// members returns the JSON keys of a file's structs.
func members(t *testing.T, file string, types []string) []jsonMember {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []jsonMember
	for _, decl := range f.Decls {
		name := declName(decl)
		if types != nil && !slices.Contains(types, name) {
			continue
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if field, ok := n.(*ast.Field); ok && field.Tag != nil {
				if key := jsonKey(t, field.Tag.Value); key != "" && key != "-" {
					found = append(found, jsonMember{name, key})
				}
			}
			return true
		})
	}
	return found
}

func jsonKey(t *testing.T, literal string) string {
	t.Helper()
	tag, err := strconv.Unquote(literal)
	if err != nil {
		t.Fatal(err)
	}
	key, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	return key
}

// declName is the name of a type or function.
func declName(decl ast.Decl) string {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		return d.Name.Name
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if ts, ok := spec.(*ast.TypeSpec); ok {
				return ts.Name.Name
			}
		}
	}
	return ""
}
