// Says how Go's net/http reads. Requests: each is answered with what was read of it, as JSON in base64, in X-Echo (see ../reading.ts).
// With a port as its argument, answers: `POST /METHOD/target` asks there, and is answered with what came (see ../answer-clients.ts).
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
)

// echo is what was read. Text holds a byte a character.
type echo struct {
	Method  string      `json:"method"`
	Target  string      `json:"target"`
	Path    string      `json:"path"`
	Headers [][2]string `json:"headers"`
	Bytes   int         `json:"bytes"`
	Sha256  string      `json:"sha256"`
}

func latin1(text string) string {
	runes := make([]rune, len(text))
	for at := range len(text) {
		runes[at] = rune(text[at])
	}
	return string(runes)
}

func answer(response http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	sum := sha256.Sum256(body)
	read := echo{
		Method: latin1(request.Method), Target: latin1(request.RequestURI), Path: latin1(request.URL.Path),
		Headers: [][2]string{{"host", latin1(request.Host)}}, Bytes: len(body), Sha256: hex.EncodeToString(sum[:]),
	}
	for name, values := range request.Header {
		for _, value := range values {
			read.Headers = append(read.Headers, [2]string{latin1(name), latin1(value)})
		}
	}
	said, err := json.Marshal(read)
	if err != nil {
		panic(err)
	}
	response.Header().Set("X-Echo", base64.StdEncoding.EncodeToString(said))
	response.Header().Set("Content-Length", "0")
}

// told is how an answer was read. Text holds a byte a character.
type told struct {
	Status  int      `json:"status"`
	Headers []string `json:"headers"`
	Body    string   `json:"body"`
	Broken  string   `json:"broken"`
}

var transport = &http.Transport{DisableCompression: true, MaxConnsPerHost: 1}

func ask(port, method, target string) told {
	request, err := http.NewRequest(method, "http://127.0.0.1:"+port+target, nil)
	if err != nil {
		return told{Broken: err.Error()}
	}
	request.Host = "db"
	// Not a Client: that would follow redirects.
	response, err := transport.RoundTrip(request)
	if err != nil {
		return told{Broken: err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return told{Broken: err.Error()}
	}
	read := told{Status: response.StatusCode, Body: latin1(string(body))}
	for name, values := range response.Header {
		for _, value := range values {
			read.Headers = append(read.Headers, latin1(name), latin1(value))
		}
	}
	return read
}

func tell(port string) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		method, target, _ := strings.Cut(request.URL.Path[1:], "/")
		said, err := json.Marshal(ask(port, method, "/"+target))
		if err != nil {
			panic(err)
		}
		response.Write(said)
	}
}

func main() {
	handler := http.HandlerFunc(answer)
	if len(os.Args) > 1 {
		handler = tell(os.Args[1])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: handler, DisableGeneralOptionsHandler: true}
	fmt.Fprintln(os.Stderr, server.Serve(listener))
	os.Exit(1)
}
