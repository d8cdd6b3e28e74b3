# To be sourced. A toy language for tests that train: the words of the source in reverse order, each with another ending.

# toy_language LINES SHORTEST LONGEST SOURCE_FILE TARGET_FILE: the same lines each time. Its own generator: awk's differs between versions.
toy_language() {
  awk -v lines="$1" -v shortest="$2" -v longest="$3" -v source="$4" -v target="$5" '
  function draw(n) { x = (x * 16807) % 2147483647; return int(x / 2147483647 * n) }
  BEGIN {
    x = 5; split("ba de fi go ku la me no pu ri sa to", w, " ")
    for (n = 0; n < lines; n++) {
      s = ""; t = ""; words = shortest + draw(longest - shortest + 1)
      for (i = 0; i < words; i++) { y = w[1 + draw(12)] w[1 + draw(12)]; s = s (i ? " " : "") y "en"; t = y "o" (i ? " " : "") t }
      print s > source; print t > target
    }
  }'
}
