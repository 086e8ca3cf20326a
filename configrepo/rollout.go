package configrepo

// Batches divides targets, in their order, into the groups that are changed one
// after the other. All at once is one batch. There is no empty batch.
func (r Rollout) Batches(targets []string) [][]string {
	if len(targets) == 0 {
		return nil
	}
	size := r.batchSize(len(targets))
	var batches [][]string
	for len(targets) > size {
		batches = append(batches, targets[:size:size])
		targets = targets[size:]
	}
	return append(batches, targets)
}

// batchSize returns how many of n targets are changed at a time, 1 to n.
func (r Rollout) batchSize(n int) int {
	switch {
	case !r.Rolling:
		return n
	case r.BatchPercent > 0:
		return min(n, max(1, (n*r.BatchPercent+99)/100))
	default:
		return min(n, max(1, r.BatchCount))
	}
}
