// Checks a recorded history of Selvedge's KV for linearizability, with porcupine.
//
// Standard input is one JSON object a line, an operation each (see ../history.ts). Every key is a register with compare-and-swap of its own. An operation
// whose outcome nobody knows may take effect at any moment after its call, or so late that nobody sees it.
//
// Prints one JSON object. Exits with 0 when the history is linearizable, 1 when it is not, 2 when there was no time to tell, 3 when it could not be read.
// A history that is refused is drawn into the file that -picture names.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one line of a history. "" as a value is: not there.
type operation struct {
	Client   int    `json:"client"`
	Kind     string `json:"kind"` // put, cas, delete, get
	Key      string `json:"key"`
	Expected string `json:"expected"` // of cas
	Value    string `json:"value"`    // written, or read
	Call     int64  `json:"callUs"`
	Return   int64  `json:"returnUs"` // meaningless when the outcome is unknown
	Outcome  string `json:"outcome"`  // done, refused (a cas whose expectation did not hold), unknown
}

// register is the model of one key: its state is its value.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		at := map[string]int{}
		var parts [][]porcupine.Operation
		for _, one := range history {
			key := one.Input.(operation).Key
			if _, known := at[key]; !known {
				at[key] = len(parts)
				parts = append(parts, nil)
			}
			parts[at[key]] = append(parts[at[key]], one)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		value, step := state.(string), input.(operation)
		switch step.Kind {
		case "get":
			return value == step.Value, value
		case "put":
			return true, step.Value
		case "delete":
			return true, ""
		case "cas":
			holds := value == step.Expected
			switch {
			case step.Outcome == "done" && !holds, step.Outcome == "refused" && holds:
				return false, value
			case step.Outcome == "refused" || !holds:
				return true, value
			}
			return true, step.Value
		}
		return false, value
	},
	DescribeOperation: func(input, _ any) string {
		step := input.(operation)
		switch step.Kind {
		case "get":
			return fmt.Sprintf("get %q", step.Value)
		case "cas":
			return fmt.Sprintf("cas %q to %q: %s", step.Expected, step.Value, step.Outcome)
		}
		return fmt.Sprintf("%s %q: %s", step.Kind, step.Value, step.Outcome)
	},
}

func check(step operation) error {
	switch {
	case step.Kind != "put" && step.Kind != "cas" && step.Kind != "delete" && step.Kind != "get":
		return fmt.Errorf("no kind of operation: %q", step.Kind)
	case step.Outcome != "done" && step.Outcome != "unknown" && (step.Outcome != "refused" || step.Kind != "cas"):
		return fmt.Errorf("no outcome of a %s: %q", step.Kind, step.Outcome)
	case step.Kind == "get" && step.Outcome == "unknown":
		return errors.New("a read that was not answered says nothing")
	case step.Outcome != "unknown" && step.Return < step.Call:
		return errors.New("returned before it was called")
	}
	return nil
}

func read(input io.Reader) ([]porcupine.Operation, error) {
	var history []porcupine.Operation
	decoder := json.NewDecoder(input)
	decoder.DisallowUnknownFields()
	for {
		var step operation
		if err := decoder.Decode(&step); errors.Is(err, io.EOF) {
			return history, nil
		} else if err != nil {
			return nil, err
		}
		if err := check(step); err != nil {
			return nil, fmt.Errorf("operation %d: %w", len(history)+1, err)
		}
		end := step.Return
		if step.Outcome == "unknown" {
			end = math.MaxInt64
		}
		history = append(history, porcupine.Operation{ClientId: step.Client, Input: step, Call: step.Call, Return: end})
	}
}

func main() {
	timeout := flag.Duration("timeout", time.Minute, "how long to search")
	picture := flag.String("picture", "", "HTML `file` for a history that is refused")
	flag.Parse()
	history, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	began := time.Now()
	result, info := porcupine.CheckOperationsVerbose(register, history, *timeout)
	keys := register.Partition(history)
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"result": result, "operations": len(history), "keys": len(keys), "ms": time.Since(began).Milliseconds(),
		"refusedKeys": refused(keys, result),
	})
	if result != porcupine.Ok && *picture != "" {
		if err := porcupine.VisualizePath(register, info, *picture); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(map[porcupine.CheckResult]int{porcupine.Ok: 0, porcupine.Illegal: 1, porcupine.Unknown: 2}[result])
}

// refused names the keys whose own histories are not linearizable.
func refused(keys [][]porcupine.Operation, result porcupine.CheckResult) []string {
	names := []string{}
	if result != porcupine.Illegal {
		return names
	}
	for _, history := range keys {
		if porcupine.CheckOperationsTimeout(register, history, 10*time.Second) == porcupine.Illegal {
			names = append(names, history[0].Input.(operation).Key)
		}
	}
	return names
}
