// Execserver is the yardstick of forked functions: one /bin/cat for each request, body on stdin, answer from stdout.
// execserver LISTEN
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
)

func serve(answer http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	command := exec.Command("/bin/cat")
	command.Stdin = bytes.NewReader(body)
	output, err := command.Output()
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	answer.Write(output)
}

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(serve)))
}
