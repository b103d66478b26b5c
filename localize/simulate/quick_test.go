package simulate

import (
	"fmt"
	"gpumedic/localize"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestQuick(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("SEEDS"))
	if n == 0 {
		n = 5
	}
	sizes := []int{16, 64, 232}
	if s := os.Getenv("SIZES"); s != "" {
		sizes = nil
		for _, w := range strings.Split(s, ",") {
			k, _ := strconv.Atoi(w)
			sizes = append(sizes, k)
		}
	}
	noises := []float64{0, 0.02, 0.05}
	if s := os.Getenv("NOISES"); s != "" {
		noises = nil
		for _, w := range strings.Split(s, ",") {
			k, _ := strconv.ParseFloat(w, 64)
			noises = append(noises, k)
		}
	}
	models := Models()
	if s := os.Getenv("MODELS"); s != "" {
		models = strings.Split(s, ",")
	}
	type key struct {
		m     string
		n     int
		noise float64
	}
	tot, ex, fb := 0, 0, 0
	for _, m := range models {
		for _, size := range sizes {
			for _, noise := range noises {
				var marks []Mark
				var mu sync.Mutex
				var wg sync.WaitGroup
				sem := make(chan bool, 2)
				for s := range n {
					wg.Add(1)
					sem <- true
					go func() {
						defer wg.Done()
						defer func() { <-sem }()
						mk, err := Play(Case{Model: m, Nodes: size, Noise: noise, Seed: uint64(s)*7919 + 13, Told: s%3 != 0, Prior: os.Getenv("PRIOR")}, localize.Next)
						if err != nil {
							if !strings.Contains(err.Error(), "at most half") {
								t.Error(err)
							}
							return
						}
						mu.Lock()
						marks = append(marks, mk)
						mu.Unlock()
					}()
				}
				wg.Wait()
				if len(marks) == 0 {
					continue
				}
				e, f, mi, in, r, te, nt := 0, 0, 0, 0, 0, 0, 0
				for _, k := range marks {
					if k.Exact {
						e++
					}
					if k.FalseBlame {
						f++
					}
					if k.Missed {
						mi++
					}
					if k.Inconclusive {
						in++
					}
					r += k.Rounds
					te += k.Tests
					nt += k.NodeTests
					if !k.Exact && os.Getenv("SHOW") != "" {
						w, _ := New(k.Case)
						fmt.Printf("   %v %v: %v want %v %s\n", k.Case, k.Rounds, k.Verdict.Bad, w.Bad, k.Verdict.Why)
					}
				}
				c := float64(len(marks))
				tot += len(marks)
				ex += e
				fb += f
				fmt.Printf("%-8s n=%-5d noise=%.2f exact %.3f false %.3f missed %.3f incon %.3f rounds %.1f tests %.1f nodetests/n %.1f\n", m, size, noise, float64(e)/c, float64(f)/c, float64(mi)/c, float64(in)/c, float64(r)/c, float64(te)/c, float64(nt)/c/float64(size))
			}
		}
	}
	fmt.Printf("TOTAL %d exact %.4f false %.4f\n", tot, float64(ex)/float64(tot), float64(fb)/float64(tot))
}
