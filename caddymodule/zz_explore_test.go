package caddymodule_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestExplore(t *testing.T) {
	b, err := os.ReadFile("/tmp/cfx/explore.txt")
	if err != nil {
		t.Skip()
	}
	for _, part := range strings.Split(string(b), "\n====\n") {
		err := check(part)
		fmt.Println("----------------------------------------")
		fmt.Println(part)
		fmt.Println("=>", err)
	}
}
