// Package stella holds the nouns of the trade: what every other package of the
// release orchestrator talks about. Start with [Deployment] (one attempt to
// bring an environment to a commit), [Resource] and [State] (what is wanted and
// what runs, in one shape) and [Change] (where they differ).
//
// The package imports the standard library only, does no I/O and knows nothing
// of Git, registries, targets or terminals; everything else imports it.
package stella
