package cli

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestTablesFitEightyColumns holds every page against a terminal of the usual
// width, with people and reasons that have long names. Only what must be copied
// whole, an id or an image, may stand out.
func TestTablesFitEightyColumns(t *testing.T) {
	for _, c := range documentCases() {
		if strings.HasPrefix(c.name, "error-") {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			f := newFake()
			if c.fake != nil {
				c.fake(f)
			}
			b := f.books["production"]
			b.Deployments, b.State.Holds = slices.Clone(b.Deployments), slices.Clone(b.State.Holds)
			const who, why = "Ana Maria de la Vega y Alvarez <ana.maria.de.la.vega@example.com>", "errors of the checkout after the release of this morning, seen in three regions"
			for i := range b.Deployments {
				b.Deployments[i].Actor, b.Deployments[i].Reason = who, why
			}
			for i := range b.State.Holds {
				b.State.Holds[i].By, b.State.Holds[i].Reason = who, why
			}
			f.books["production"] = b
			got := f.invoke(t, append(strings.Fields(c.args), "-o", "table")...)
			for line := range strings.SplitSeq(got.stdout, "\n") {
				copied := slices.ContainsFunc(strings.Fields(line), func(word string) bool { return len(word) >= 40 })
				if utf8.RuneCountInString(line) > 80 && !copied {
					t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
				}
			}
		})
	}
}
