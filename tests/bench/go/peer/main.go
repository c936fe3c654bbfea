// Peer is the function behind the proxies when bodies are large.
// /sink reads everything and answers its size, /source?bytes=N sends N bytes, /echo sends back what comes while it comes,
// /never does not answer before the caller has gone.
// peer LISTEN
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
)

const piece = 256 << 10

func sink(answer http.ResponseWriter, request *http.Request) {
	size, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, request.Body, make([]byte, piece))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(answer, size)
}

func source(answer http.ResponseWriter, request *http.Request) {
	left, _ := strconv.Atoi(request.URL.Query().Get("bytes"))
	answer.Header().Set("Content-Length", strconv.Itoa(left))
	buffer := make([]byte, piece)
	for left > 0 {
		count, err := answer.Write(buffer[:min(left, piece)])
		if err != nil {
			return
		}
		left -= count
	}
}

func echo(answer http.ResponseWriter, request *http.Request) {
	http.NewResponseController(answer).EnableFullDuplex()
	if request.ContentLength >= 0 {
		answer.Header().Set("Content-Length", strconv.FormatInt(request.ContentLength, 10))
	}
	io.CopyBuffer(struct{ io.Writer }{answer}, struct{ io.Reader }{request.Body}, make([]byte, piece))
}

func never(_ http.ResponseWriter, request *http.Request) {
	io.Copy(io.Discard, request.Body)
	<-request.Context().Done()
}

func main() {
	http.HandleFunc("/sink", sink)
	http.HandleFunc("/source", source)
	http.HandleFunc("/echo", echo)
	http.HandleFunc("/never", never)
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
