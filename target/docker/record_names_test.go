package docker

import "testing"

// TestNoTwoTargetsShareTheNamesOfTheirRecords: names may have hyphens, and no
// dots.
func TestNoTwoTargetsShareTheNamesOfTheirRecords(t *testing.T) {
	one := &Docker{cfg: Config{Environment: "a-b", Name: "c"}}
	other := &Docker{cfg: Config{Environment: "a", Name: "b-c"}}
	if one.recordPrefix() == other.recordPrefix() {
		t.Errorf("both are %s", one.recordPrefix())
	}
}
