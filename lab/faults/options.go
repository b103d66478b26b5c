package faults

import (
	"fmt"
	"strconv"
	"strings"
)

// option is one thing that the training's program is told, by an environment
// variable or by an argument, which wins.
type option struct{ env, arg, otherwise string }

// The options of the program.
var (
	microBatch   = option{"MICRO_BATCH", "--micro-batch", "4"}
	accumulation = option{"ACCUMULATION", "--accumulation", "1"}
	precision    = option{"PRECISION", "--precision", "bf16"}
	workers      = option{"NUM_WORKERS", "--num-workers", "8"}
	prefetch     = option{"PREFETCH_FACTOR", "--prefetch-factor", "2"}
	cacheDir     = option{"CACHE_DIR", "--cache-dir", ""}
	dataDir      = option{"DATA_DIR", "--data-dir", ""}
)

var numbers = []option{microBatch, accumulation, workers, prefetch}

// text is what the process is told.
func (o option) text(p *process) string {
	line := append(append([]string{}, p.spec.Command...), p.spec.Args...)
	for i := len(line) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(line[i], o.arg+"="); ok {
			return value
		}
		if line[i] == o.arg && i+1 < len(line) {
			return line[i+1]
		}
	}
	if value, ok := p.env[o.env]; ok {
		return value
	}
	return o.otherwise
}

// number is what the process is told; refused before where it is none.
func (o option) number(p *process) int {
	n, _ := strconv.Atoi(o.text(p))
	return n
}

// refuse says how the program ends when it cannot read an option; "" when it can.
func refuse(p *process) string {
	for _, o := range numbers {
		if n, err := strconv.Atoi(o.text(p)); err != nil || n < 0 {
			return fmt.Sprintf("train.py: error: argument %s: invalid int value: '%s'", o.arg, o.text(p))
		}
	}
	if n := microBatch.number(p); n < 1 {
		return fmt.Sprintf("train.py: error: argument %s: %d is not at least 1", microBatch.arg, n)
	}
	return ""
}

// sayOptions prints what the program makes of its options.
func (p *process) sayOptions() {
	micro, rounds := microBatch.number(p), accumulation.number(p)
	p.say("[rank%d]: torch %s, micro-batch %d, accumulation %d, %d ranks, global batch %d, precision %s, %d workers with prefetch %d",
		p.rank, p.torch(), micro, rounds, p.world, micro*rounds*p.world, precision.text(p), workers.number(p), prefetch.number(p))
}
