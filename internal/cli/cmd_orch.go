package cli

import (
	"github.com/spf13/cobra"
)

func newOrchCmd(a *App) *cobra.Command {
	return group("orch", "Environments, deployments, images, locks, holds and the ledger",
		group("env", "Environments: list, status, config, reset, stop, delete",
			newEnvListCmd(a), newEnvStatusCmd(a), newEnvConfigCmd(a), newEnvResetCmd(a), newEnvStopCmd(a), newEnvDeleteCmd(a)),
		group("deployments", "Deployments: list, current, show",
			newDeploymentsListCmd(a), newDeploymentsCurrentCmd(a), newDeploymentsShowCmd(a)),
		group("locks", "Locks: list, acquire, release",
			newLocksListCmd(a), newLocksAcquireCmd(a), newLocksReleaseCmd(a)),
		group("holds", "Holds, the memory of what was rolled back: list, release",
			newHoldsListCmd(a), newHoldsReleaseCmd(a)),
		group("artifacts", "Images in their registries: get",
			newArtifactsGetCmd(a)),
		group("db", "The ledger: verify",
			newDBVerifyCmd(a)),
		newHealthCheckCmd(a),
		newRepairCmd(a),
	)
}
