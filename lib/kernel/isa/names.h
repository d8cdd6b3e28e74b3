#pragma once
// Names with the instruction set in them, SEQMILL_ISA, for which a source of this folder is compiled.

#define SEQMILL_JOIN_(a, b) a##b
#define SEQMILL_JOIN(a, b) SEQMILL_JOIN_(a, b)
#define SEQMILL_TEXT_(a) #a
#define SEQMILL_TEXT(a) SEQMILL_TEXT_(a)
