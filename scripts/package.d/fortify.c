/* Debian's LLVM unwinder calls this function of glibc, to print before it ends the program; musl
 * has the one without checks. */
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *file, int flag, const char *format, ...)
{
	va_list values;
	int written;

	(void)flag;
	va_start(values, format);
	written = vfprintf(file, format, values);
	va_end(values);
	return written;
}
