// Kubeflow's MPI operator: its controller, without the election among several and without a port for all the world.
//
//	mpi-operator KUBECONFIG
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	clientset "github.com/kubeflow/mpi-operator/pkg/client/clientset/versioned"
	kubeflow "github.com/kubeflow/mpi-operator/pkg/client/clientset/versioned/scheme"
	jobs "github.com/kubeflow/mpi-operator/pkg/client/informers/externalversions"
	"github.com/kubeflow/mpi-operator/pkg/controller"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog"
)

func main() {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		klog.Fatal(err)
	}
	config.QPS, config.Burst = 100, 200
	if err := kubeflow.AddToScheme(scheme.Scheme); err != nil {
		klog.Fatal(err)
	}
	client, jobClient := kubernetes.NewForConfigOrDie(config), clientset.NewForConfigOrDie(config)
	shared, sharedJobs := informers.NewSharedInformerFactory(client, 0), jobs.NewSharedInformerFactory(jobClient, 0)
	core := shared.Core().V1()
	operator, err := controller.NewMPIJobController(client, jobClient, nil, nil, core.ConfigMaps(), core.Secrets(), core.Services(),
		shared.Batch().V1().Jobs(), core.Pods(), shared.Scheduling().V1().PriorityClasses(), sharedJobs.Kubeflow().V2beta1().MPIJobs(), "", "")
	if err != nil {
		klog.Fatal(err)
	}
	shared.Start(stop.Done())
	sharedJobs.Start(stop.Done())
	if err := operator.Run(2, stop.Done()); err != nil {
		klog.Fatal(err)
	}
}
