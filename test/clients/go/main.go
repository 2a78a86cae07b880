// Clients of Consul's API in Go: `consul-api ADDRESS` walks through HashiCorp's client library, `consul-sd ADDRESS FILE` runs Prometheus' discovery.
package main

import (
	"fmt"
	"os"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "consul-api":
		walk(os.Args[2])
	case len(os.Args) == 4 && os.Args[1] == "consul-sd":
		check(discover(os.Args[2], os.Args[3]))
	default:
		fail("usage: consul-api ADDRESS | consul-sd ADDRESS FILE")
	}
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

// fail ends the program: what follows could only fail for the same reason.
func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

// equal compares what is with what should be as they are printed.
func equal(what string, is, should any) {
	if fmt.Sprintf("%+v", is) != fmt.Sprintf("%+v", should) {
		fail("%s is %+v and not %+v", what, is, should)
	}
}
