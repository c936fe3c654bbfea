// Revproxy is the yardstick of the synchronous path: one hop of httputil.ReverseProxy, idle connections kept.
// revproxy LISTEN UPSTREAM_URL [duplex]: with the third word an answer may begin before the request has ended.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

func duplex(next http.Handler) http.Handler {
	return http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		http.NewResponseController(answer).EnableFullDuplex()
		next.ServeHTTP(answer, request)
	})
}

func main() {
	upstream, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(upstream)
	proxy.Transport = &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 512}
	var handler http.Handler = proxy
	if len(os.Args) > 3 {
		handler = duplex(proxy)
	}
	log.Fatal(http.ListenAndServe(os.Args[1], handler))
}
