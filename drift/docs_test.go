package drift

import (
	"os"
	"strings"
	"testing"
)

// The table that people read has the rules that decide, in their order.
func TestSeverityRulesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/drift.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(page)
	for _, r := range severityRules() {
		row := "\n| " + r.name + " | "
		_, after, ok := strings.Cut(rest, row)
		if !ok {
			t.Fatalf("docs/drift.md has no row %q after those of the rules before", strings.TrimSpace(row))
		}
		line, _, _ := strings.Cut(after, "\n")
		if !strings.Contains(line, "| "+string(r.severity)) {
			t.Errorf("docs/drift.md: %s is not said to be %s", r.name, r.severity)
		}
		rest = after
	}
}
