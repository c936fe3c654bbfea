// Execloop runs /bin/cat N times, C at once, 1 KiB in and out, and prints runs per second:
// the yardstick for forked functions.
package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"
)

func run(body []byte) {
	command := exec.Command("/bin/cat")
	command.Stdin = bytes.NewReader(body)
	var output, errors bytes.Buffer
	command.Stdout, command.Stderr = &output, &errors
	if err := command.Run(); err != nil || output.Len() != len(body) {
		panic(fmt.Sprint(err, " ", output.Len()))
	}
}

func main() {
	total, _ := strconv.Atoi(os.Args[1])
	workers, _ := strconv.Atoi(os.Args[2])
	body := bytes.Repeat([]byte("x"), 1024)
	var group sync.WaitGroup
	began := time.Now()
	for w := 0; w < workers; w++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := 0; i < total/workers; i++ {
				run(body)
			}
		}()
	}
	group.Wait()
	fmt.Printf("%.1f\n", float64(total)/time.Since(began).Seconds())
}
