// Enforces the cluster's NetworkPolicies on this machine: packets to and from pods pass through a netfilter queue, and this program
// answers for each new connection.
//
//	policies KUBECONFIG NODE
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		klog.Fatal(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	shared := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(client, shared.Networking().V1().NetworkPolicies(), shared.Core().V1().Namespaces(),
		shared.Core().V1().Pods(), nil, nil, nil, nil, networkpolicy.Config{QueueID: 100, NodeName: os.Args[2]})
	if err != nil {
		klog.Fatal(err)
	}
	shared.Start(stop.Done())
	if err := controller.Run(stop); err != nil {
		klog.Fatal(err)
	}
}
