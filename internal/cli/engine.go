package cli

import (
	"context"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/artifact"
	"github.com/stella-ops/stella/ledger"
	"github.com/stella-ops/stella/reconciler"
)

// engine is what the commands ask. *reconciler.Engine answers; what each method
// does and returns is written there.
type engine interface {
	reader
	changer
	keeper
	retainer
}

// reader answers questions and changes nothing.
type reader interface {
	Environments(ctx context.Context) ([]reconciler.EnvironmentSummary, error)
	Status(ctx context.Context, env stella.EnvName, observe bool) (reconciler.EnvironmentStatus, error)
	Plan(ctx context.Context, env stella.EnvName, ref string) (reconciler.Plan, error)
	Diff(ctx context.Context, req reconciler.DiffRequest) (reconciler.Diff, error)
	Detect(ctx context.Context, req reconciler.DetectRequest) ([]reconciler.Diff, error)
	HealthCheck(ctx context.Context, env stella.EnvName) (reconciler.HealthReport, error)
	Ready(ctx context.Context, envs ...stella.EnvName) ([]reconciler.EnvironmentReadiness, error)
	RollbackStatus(ctx context.Context, env stella.EnvName, deployment string) (reconciler.RollbackStatus, error)
	Trace(ctx context.Context, env stella.EnvName, deployment string, logs bool) (reconciler.Trace, error)
	Follow(ctx context.Context, env stella.EnvName, deployment string, timeout time.Duration) error
	Book(ctx context.Context, env stella.EnvName) (ledger.Book, error)
	Books(ctx context.Context) (map[stella.EnvName]ledger.Book, error)
	FindDeployment(ctx context.Context, envOrDeployment string) (stella.EnvName, *stella.Deployment, error)
	Artifact(ctx context.Context, a stella.Artifact, depth artifact.Depth) (reconciler.ArtifactReport, error)
	Locks(ctx context.Context, env stella.EnvName) ([]reconciler.LockStatus, error)
	ShowBaseline(ctx context.Context, env stella.EnvName) (reconciler.BaselineReport, error)
	VerifyBaselines(ctx context.Context, envs ...stella.EnvName) (all []reconciler.BaselineReport, without []stella.EnvName, err error)
	ListBaselines(ctx context.Context, env stella.EnvName) ([]reconciler.BaselineEntry, error)
	DiffBaseline(ctx context.Context, env stella.EnvName) (reconciler.BaselineDiff, error)
	VerifyLedger(ctx context.Context, env stella.EnvName) ([]ledger.Report, error)
}

// changer changes what runs.
type changer interface {
	Reconcile(ctx context.Context, req reconciler.ReconcileRequest) (reconciler.Outcome, error)
	Deploy(ctx context.Context, req reconciler.DeployRequest) (reconciler.Outcome, error)
	TakeOver(ctx context.Context, req reconciler.TakeOverRequest) (reconciler.Outcome, error)
	Rollback(ctx context.Context, req reconciler.RollbackRequest) (reconciler.Outcome, error)
	Reset(ctx context.Context, req reconciler.ResetRequest) (reconciler.Outcome, error)
	Adopt(ctx context.Context, req reconciler.AdoptRequest) (reconciler.Outcome, error)
	Ignore(ctx context.Context, req reconciler.IgnoreRequest) (reconciler.Outcome, error)
	Stop(ctx context.Context, env stella.EnvName, o reconciler.Options) error
	Delete(ctx context.Context, env stella.EnvName, o reconciler.Options) error
}

// keeper changes what is recorded, and nothing that runs.
type keeper interface {
	AcquireLock(ctx context.Context, env stella.EnvName, reason string, d time.Duration) (stella.Lock, error)
	ReleaseLock(ctx context.Context, envOrLockID, reason string, force bool) (stella.Lock, error)
	LiftHold(ctx context.Context, env stella.EnvName, holdID, reason string) ([]stella.Hold, error)
	CaptureBaseline(ctx context.Context, req reconciler.BaselineRequest) (reconciler.CapturedBaseline, error)
	AcceptHeads(ctx context.Context, env stella.EnvName, reason string) ([]reconciler.AcceptedHead, error)
}

// session is one opened config repository with its engine.
type session struct {
	engine engine
	// protected reports whether the environment's file, at a commit that the
	// engine has read, wants changes to be confirmed.
	protected func(ctx context.Context, env stella.EnvName, commit string) (bool, error)
	close     func() error // nil: nothing to close
}

// openFunc opens a session whose engine tells notify what it does.
type openFunc func(ctx context.Context, notify func(reconciler.Event)) (*session, error)
