package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"

	"gpumedic/incident"
	"gpumedic/steps"
)

// manyRanks is a job as large as they come.
const manyRanks = 1000

// manyRanked is a job of so many ranks that all ran out of memory once. The client
// is the fake: what an API server takes for its lists is not measured, ours is.
func manyRanked() []runtime.Object {
	objects := networked(gang(manyRanks, both(limited("memory", "64Gi"), died(10*time.Minute, 2*time.Minute, 137, "OOMKilled")), withEnv("GRAD_ACCUM", "2")))
	job := objects[0].(*batchv1.Job)
	job.Spec.Template.Spec.Containers = []corev1.Container{{Name: "trainer", Resources: corev1.ResourceRequirements{
		Limits: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("4"), "memory": resource.MustParse("64Gi")}}}}
	return objects
}

// BenchmarkThousandRanks is each check of memory and data, the plan of a change and
// the collection of evidence, over one job.
func BenchmarkThousandRanks(b *testing.B) {
	w := newWorld(b, manyRanked()...)
	w.dryCreates()
	found, _ := w.resolved(b, jobTarget)
	params := steps.CheckParams{Incident: "i", Workload: found.Workload, Fabric: testFabric}
	for _, check := range []struct {
		name string
		run  func(context.Context, steps.CheckParams) (steps.CheckResult, error)
	}{{"check-memory", w.CheckMemory}, {"check-capacity", w.CheckCapacity}, {"check-volumes", w.CheckVolumes}, {"check-loading", w.CheckLoading}} {
		b.Run(check.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if result, err := check.run(b.Context(), params); err != nil || len(result.Findings) == 0 {
					b.Fatal(result, err)
				}
			}
		})
	}
	b.Run("plan-remedy", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			result, err := w.PlanRemedy(b.Context(), steps.PlanRemedyParams{Incident: "i", Remedy: steps.RaiseMemory, Risk: incident.RiskMedium, Workload: found.Workload, Fabric: testFabric})
			if err != nil || result.Plan.Diff == "" {
				b.Fatal(result.WhyNot, err)
			}
		}
	})
}

// BenchmarkThousandLogs is the scan of what as many ranks said, 100 KB each, of
// which one ran out of GPU memory and the others lost it.
func BenchmarkThousandLogs(b *testing.B) {
	w := newWorld(b, manyRanked()...)
	found, workload := w.resolved(b, jobTarget)
	var entries []incident.IndexEntry
	bytes := 0
	for i, rank := range workload.Ranks {
		log := logged(time.Hour).over("IB").train(1100, time.Second)
		if i == 7 {
			log.say("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.20 GiB is free. Including non-PyTorch memory, this process has 77.90 GiB memory in use. Of the allocated memory 60.00 GiB is allocated by PyTorch, and 16.00 GiB is reserved by PyTorch but unallocated.")
		} else {
			log.say("NCCL WARN Connection closed by remote peer llama-70b-7.")
		}
		bytes += len(log.String())
		ref, err := w.store.Put(b.Context(), fmt.Sprintf("logs/rank-%04d.log", i), strings.NewReader(log.String()))
		if err != nil {
			b.Fatal(err)
		}
		entries = append(entries, incident.IndexEntry{EvidenceRef: ref, Kind: "log", Rank: rank.Index, Container: rank.Container, Pod: rank.Pod})
	}
	index, err := w.putJSON(b.Context(), "index.json", entries)
	if err != nil {
		b.Fatal(err)
	}
	params := paramsOf(found)
	params.Index = index
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	for b.Loop() {
		if result, err := w.CheckRankLogs(b.Context(), params); err != nil || len(result.Observations) == 0 {
			b.Fatal(err)
		}
	}
}
