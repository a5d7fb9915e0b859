// One program that is kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubelet or kubectl, by the
// name it is called by: they share most of their code, so that one build and one file do for all.
package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	var command *cobra.Command
	switch name := filepath.Base(os.Args[0]); name {
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kube-proxy":
		command = proxy.NewProxyCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kubectl":
		os.Exit(kubectl(cmd.NewDefaultKubectlCommand()))
	default:
		os.Stderr.WriteString("hyperkube: no program is called " + name + "\n")
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}

// kubectl prints its own errors.
func kubectl(command *cobra.Command) int {
	if cli.RunNoErrOutput(command) != nil {
		return 1
	}
	return 0
}
