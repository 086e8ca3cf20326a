package baseline

import (
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/ledger"
)

// Recorded looks in the ledger for the deployment that a baseline names. Known is
// false where the ledger has none of that id: it may have been lost, or be older
// than it remembers, and only the branch can bear the baseline out then. Why says
// what speaks against the baseline; empty for nothing.
func Recorded(b configrepo.Baseline, book ledger.Book) (d stella.Deployment, known bool, why string) {
	if _, err := sequence(b); err != nil {
		return d, false, fmt.Sprintf("%s is no deployment of %s", safe.Clip(b.Deployment, 100), b.Environment)
	}
	d, known = book.Deployment(b.Deployment)
	switch {
	case !known:
		return d, false, ""
	case d.Status != stella.Succeeded || d.Tree != b.Tree:
		return d, true, fmt.Sprintf("%s did not verify tree %.12s: it is %s, with %.12s", d.ID, b.Tree, d.Status, d.Tree)
	}
	return d, true, ""
}
